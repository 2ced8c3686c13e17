"""Kernel Inception Distance (Bińkowski et al. 2018, https://arxiv.org/abs/1801.01401).

The unbiased MMD² with the kernel (x·y/d + 1)³, averaged over random subsets. Unlike FID it does not
depend, on average, on the numbers of images. Same subsets and value as torch-fidelity's
`kid_features_to_metric`, given the same seed.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from dreamda_jax.algorithms.metrics.feature_blocks import (
    BLOCK_ROWS,
    FeatureSet,
    feature_sets,
    read_rows,
)
from dreamda_jax.algorithms.metrics.intervals import Estimate, normal_estimate
from dreamda_jax.algorithms.metrics.kernel_sums import (
    kernel_means,
    polynomial_kernel,
    unbiased_mmd_squared,
    witness_real,
    witness_synthetic,
)
from dreamda_jax.types import AnyArray


class KID(NamedTuple):
    """Mean and spread over subsets."""

    mean: float
    std: float
    """Of the subsets' values (divided by their number, as torch-fidelity does): that of a figure
    from `subset_size` images, not of the mean. 0 if a subset is the whole of both sets."""
    standard_error: float
    """Of the mean."""
    subset_size: int
    """What was asked for, or the number of images in the smaller set if that is less."""
    subsets: int


def kid(
    real: Float[AnyArray, "n d"],
    synthetic: Float[AnyArray, "m d"],
    *,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 2020,
    block_rows: int = BLOCK_ROWS,
) -> KID:
    """KID of two sets.

    Of B subsets of s images, the variance of the mean is to first order (1 − 1/B) times that of
    MMD² from all images, 4 v/n + 4 w/m, and 1/B times that of one subset, 4 (v + w)/s. Here v and w
    are the variances of the witness at real and at synthetic images
    (`kernel_sums.mmd_squared_error`), which every subset estimates. Images count as independent, so
    the standard error is too small if there are several variants of each seed.

    Args:
      real: finite. One subset of each set is held in memory.
      synthetic: likewise.
      subsets: how many.
      subset_size: images of each set in a subset.
      seed: of the subsets; torch-fidelity's `rng_seed`, and its default.
      block_rows: multiplied at a time; of no influence beyond rounding.

    Raises:
      ValueError: fewer than 2 images in a set, different widths, a number that is not finite,
        subsets below 1 or subset_size below 2.
    """
    if subsets < 1 or subset_size < 2:
        raise ValueError(
            f"KID needs at least 1 subset of 2 images, got {subsets} subsets of {subset_size}"
        )
    sets = feature_sets(real, synthetic, metric="KID")
    lengths = len(real), len(synthetic)
    size = min(subset_size, *lengths)
    rng = np.random.RandomState(seed)  # torch-fidelity's
    values, variances = np.empty(subsets), np.empty((subsets, 2))
    for subset in range(subsets):
        drawn = [
            FeatureSet(read_rows(each, rng.choice(length, size, replace=False)), each.name)
            for each, length in zip(sets, lengths, strict=True)
        ]
        means = kernel_means(polynomial_kernel, real.shape[1], *drawn, block_rows=block_rows)
        values[subset] = unbiased_mmd_squared(means)
        witnesses = witness_real(means), witness_synthetic(means)
        variances[subset] = [np.var(witness, ddof=1) for witness in witnesses]
    per_image = (1 - 1 / subsets) / np.array(lengths) + 1 / subsets / size
    error = 2 * np.sqrt(variances.mean(axis=0) @ per_image)
    return KID(float(values.mean()), float(values.std()), float(error), size, subsets)


def kid_estimate(result: KID) -> Estimate:
    """The mean with its interval."""
    return normal_estimate(result.mean, result.standard_error)

"""Maximum mean discrepancy with a Gaussian kernel, and CMMD, the same of CLIP embeddings.

    MMD² = E k(x, x') + E k(y, y') − 2 E k(x, y),   k(x, y) = exp(−|x − y|² / (2σ²))

(Gretton et al., "A Kernel Two-Sample Test", JMLR 2012.) Two estimates of it: the *unbiased* one
leaves out each image's kernel with itself, the *biased* one does not, and is never negative.

- `mmd`: the figure to report is the unbiased MMD²; it does not depend on the numbers of images, and
  is 0 on average for equal distributions. DreamDA's Table 5 says "MMD with radial kernel" and
  no more, neither bandwidth nor estimate, so its values cannot be compared with these.
- `cmmd` (Jayasumana et al. 2024, https://arxiv.org/abs/2401.09603): 1000 times the biased MMD² with
  σ = 10, as google-research/cmmd/distance.py computes it.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from dreamda_jax.algorithms.metrics.feature_blocks import (
    BLOCK_ROWS,
    centre,
    check_unit_length,
    feature_sets,
    read_rows,
)
from dreamda_jax.algorithms.metrics.intervals import Estimate, normal_estimate
from dreamda_jax.algorithms.metrics.kernel_sums import (
    KernelMeans,
    gaussian_kernel,
    kernel_means,
    mmd_squared_error,
    unbiased_mmd_squared,
)
from dreamda_jax.types import AnyArray

CMMD_SIGMA = 10.0
CMMD_SCALE = 1000.0

_NOISE = 1e-12  # of |x|² + |y|²: squared distances in float64 are not known better


class MMD(NamedTuple):
    """Of n real and m synthetic images."""

    unbiased: float
    """MMD²; below 0 where chance has it so."""
    biased: float
    """MMD², at least 0."""
    means: KernelMeans
    """Kernels less 1, 2n + 2m numbers: what the standard error is made of."""


def mmd(
    real: Float[AnyArray, "n d"],
    synthetic: Float[AnyArray, "m d"],
    *,
    sigma: float,
    block_rows: int = BLOCK_ROWS,
) -> MMD:
    """Both estimates of MMD² with a Gaussian kernel, over all pairs of images.

    Squared distances are float32 relative to the mean of the real images, with errors of some 1e-6
    of |x|² + |y|². Over all pairs they average out: tests hold MMD² to 5e-6 of itself. Memory for
    2n + 2m numbers besides the blocks.

    Args:
      real: finite.
      synthetic: likewise.
      sigma: bandwidth, such as `median_bandwidth(real)`.
      block_rows: of either set, multiplied at a time; of no influence beyond rounding.

    Raises:
      ValueError: fewer than 2 images in a set, different widths, a number that is not finite, or
        sigma not above 0.
    """
    if not (np.isfinite(sigma) and sigma > 0):
        raise ValueError(f"sigma must be a finite number above 0, got {sigma}")
    sets = feature_sets(real, synthetic, metric="MMD")
    origin = centre(sets[0], block_rows=block_rows)
    near = (each._replace(origin=origin) for each in sets)
    means = kernel_means(gaussian_kernel, sigma, *near, block_rows=block_rows)
    n, m = len(real), len(synthetic)
    # An image's kernel with itself, less 1, is 0: it adds to the number of pairs only.
    biased = np.mean(means.real_real) * (n - 1) / n - np.mean(means.real_synthetic)
    biased += np.mean(means.synthetic_synthetic) * (m - 1) / m - np.mean(means.synthetic_real)
    return MMD(unbiased_mmd_squared(means), max(float(biased), 0.0), means)


def cmmd(
    real: Float[AnyArray, "n d"], synthetic: Float[AnyArray, "m d"], *, block_rows: int = BLOCK_ROWS
) -> MMD:
    """MMD² of CLIP embeddings with σ = 10, for `cmmd_estimate`.

    Args:
      real: of length 1.
      synthetic: likewise.
      block_rows: as in `mmd`.

    Raises:
      ValueError: as in `mmd`, or an embedding whose length is not 1.
    """
    for each in feature_sets(real, synthetic, metric="CMMD"):
        check_unit_length(each, block_rows=block_rows)
    return mmd(real, synthetic, sigma=CMMD_SIGMA, block_rows=block_rows)


def mmd_estimate(
    result: MMD, *, synthetic_clusters: Int[np.ndarray, "m"] | None = None
) -> Estimate:
    """The unbiased MMD² with its interval (`kernel_sums.mmd_squared_error`).

    Args:
      result: of `mmd`.
      synthetic_clusters: which synthetic images belong together; None: each stands alone.
    """
    error = mmd_squared_error(result.means, synthetic_clusters=synthetic_clusters)
    return normal_estimate(result.unbiased, error)


def cmmd_estimate(
    result: MMD, *, synthetic_clusters: Int[np.ndarray, "m"] | None = None
) -> Estimate:
    """CMMD, 1000 times the biased MMD², with its interval.

    Args:
      result: of `cmmd`.
      synthetic_clusters: as in `mmd_estimate`.
    """
    error = mmd_squared_error(result.means, synthetic_clusters=synthetic_clusters)
    return normal_estimate(CMMD_SCALE * result.biased, CMMD_SCALE * error)


def median_bandwidth(real: Float[AnyArray, "n d"], *, most: int = 2000) -> float:
    """The median distance between real images, float64: the usual σ (Gretton et al. 2012, §8).

    Args:
      real: finite.
      most: images that are compared, evenly spread over the set.

    Raises:
      ValueError: fewer than 2 images, a number that is not finite, or more than half of the pairs
        equal, so that their distance gives no scale.
    """
    real_set, _ = feature_sets(real, real, metric="the bandwidth of MMD")
    chosen = np.unique(np.linspace(0, len(real) - 1, min(most, len(real))).astype(np.int64))
    rows = read_rows(real_set, chosen).astype(np.float64)
    rows -= rows.mean(axis=0)
    squares = np.square(rows).sum(axis=1)
    sums = squares[:, None] + squares
    squared = sums - 2 * rows @ rows.T
    squared[squared <= _NOISE * sums] = 0
    median = np.median(np.sqrt(squared[np.triu_indices(len(rows), 1)]))
    if not median:
        raise ValueError(
            "half of the pairs of real images have equal features, so their distance gives no "
            "bandwidth for MMD"
        )
    return float(median)

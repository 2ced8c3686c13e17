"""Fréchet distance of two sets of features (Heusel et al. 2017, https://arxiv.org/abs/1706.08500).

    FID = |μ₁ − μ₂|² + tr S₁ + tr S₂ − 2 tr √(S₁S₂)

With any F that has FᵀF = S, the eigenvalues of S₁S₂ are the squared singular values of F₁F₂ᵀ, so
tr √(S₁S₂) is the sum of its singular values (the nuclear norm). That needs no root of a matrix and
no complex numbers, and never squares what it has to take the root of: with few images F is simply
the matrix of centred features, divided by √(n−1). Same value as torch-fidelity and pytorch-fid.

FID falls with the number of images of either set: sets of 1,000 images must not be compared with
sets of 10,000 by it, and classes of few images only with classes of as many.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from dreamda_jax.algorithms.metrics.feature_blocks import (
    BLOCK_ROWS,
    FeatureSet,
    feature_sets,
    read_rows,
)
from dreamda_jax.algorithms.metrics.moments import Moments, moments
from dreamda_jax.types import AnyArray


class Gaussian(NamedTuple):
    """A normal distribution fitted to features; float64."""

    mean: Float[np.ndarray, "d"]
    factor: Float[np.ndarray, "r d"]
    """F with FᵀF the unbiased covariance; r is at most d, and less for a singular covariance."""


class ClassFID(NamedTuple):
    """Of c classes."""

    value: Float[np.ndarray, "c"]
    """float64; NaN where there are too few images."""
    real: Int[np.ndarray, "c"]
    """Numbers of images, int64."""
    synthetic: Int[np.ndarray, "c"]


def fid(
    real: Float[AnyArray, "n d"],
    synthetic: Float[AnyArray, "m d"],
    *,
    block_rows: int = BLOCK_ROWS,
) -> float:
    """FID of two sets: 0 for equal ones, in units of squared features.

    Memory for some [d, d] float64 matrices, whatever the numbers of images: 32 MB each at d = 2048.
    The sums over images and one singular value decomposition take most of the time, seconds.

    Args:
      real: finite.
      synthetic: likewise.
      block_rows: read at a time; of no influence on the value.

    Raises:
      ValueError: fewer than 2 images in a set, different widths, a number that is not finite.
    """
    sets = feature_sets(real, synthetic, metric="FID")
    return frechet_distance(*(fit_gaussian(each, block_rows=block_rows) for each in sets))


def fid_by_class(
    real: Float[AnyArray, "n d"],
    real_labels: Int[np.ndarray, "n"],
    synthetic: Float[AnyArray, "m d"],
    synthetic_labels: Int[np.ndarray, "m"],
    *,
    num_classes: int,
    least: int = 10,
    block_rows: int = BLOCK_ROWS,
) -> ClassFID:
    """FID of each class's real and synthetic images.

    Args:
      real: finite.
      real_labels: in [0, c); others, such as -1, are of no class.
      synthetic: finite.
      synthetic_labels: likewise.
      num_classes: c.
      least: images of a class that must be there in both sets for a value. The fewer there are,
        the more FID exceeds that of many images.
      block_rows: read at a time.

    Raises:
      ValueError: labels of another number of images, `least` below 2, different widths, a number
        that is not finite.
    """
    if least < 2:
        raise ValueError(f"FID needs at least 2 images of a class, got least={least}")
    sets = feature_sets(real, synthetic, metric="FID", least=0)
    labels = (real_labels, synthetic_labels)
    for each, of in zip(sets, labels, strict=True):
        if of.shape != (len(each.array),):
            raise ValueError(f"{len(each.array)} {each.name} images, but labels are {of.shape}")
    value = np.full(num_classes, np.nan)
    counts = np.zeros((2, num_classes), np.int64)
    for label in range(num_classes):
        rows = [np.flatnonzero(of == label) for of in labels]
        counts[:, label] = [len(r) for r in rows]
        if counts[:, label].min() >= least:
            fits = (
                fit_gaussian(each, rows=r, block_rows=block_rows)
                for each, r in zip(sets, rows, strict=True)
            )
            value[label] = frechet_distance(*fits)
    return ClassFID(value, *counts)


def fit_gaussian(
    features: FeatureSet,
    *,
    rows: Int[np.ndarray, "r"] | None = None,
    block_rows: int = BLOCK_ROWS,
) -> Gaussian:
    """Mean and covariance of all rows, or of some; 2 or more.

    Raises:
      ValueError: fewer, or a number that is not finite.
    """
    count, width = features.array.shape
    if rows is not None:
        count = len(rows)
    if count < 2:
        raise ValueError(f"FID needs at least 2 {features.name} images, got {count}")
    if count > width:
        return gaussian_of(moments(features, rows=rows, block_rows=block_rows))
    few = read_rows(features, slice(0, count) if rows is None else rows).astype(np.float64)
    mean = few.mean(axis=0)
    return Gaussian(mean, (few - mean) / np.sqrt(count - 1))


def gaussian_of(moments: Moments) -> Gaussian:
    """The same of what was gathered."""
    covariance = moments.covariance
    try:
        factor = np.linalg.cholesky(covariance).T
    except np.linalg.LinAlgError:  # singular: slower, but it can tell which directions are empty
        values, vectors = np.linalg.eigh(covariance)
        kept = values > len(values) * np.finfo(np.float64).eps * values[-1]
        factor = np.sqrt(values[kept])[:, None] * vectors[:, kept].T
    return Gaussian(moments.mean, factor)


def frechet_distance(first: Gaussian, second: Gaussian) -> float:
    """The (squared) Fréchet distance of two normal distributions, at least 0."""
    shift = first.mean - second.mean
    product = first.factor @ second.factor.T
    # numpy has no singular values of an empty matrix, that of a set of equal images.
    overlap = np.linalg.svd(product, compute_uv=False).sum() if product.size else 0.0
    traces = np.square(first.factor).sum() + np.square(second.factor).sum()
    return max(float(shift @ shift + traces - 2 * overlap), 0.0)

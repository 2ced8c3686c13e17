"""Intervals of 95 %: how far a figure may be off because of which images there happen to be.

Variants of one seed are alike, so many of them say less than as many images of their own. Where
`clusters` are given (the seed of every synthetic image), whole clusters count as what was drawn.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

_NORMAL_95 = 1.96


class Estimate(NamedTuple):
    """A figure with its interval of 95 %."""

    value: float
    low: float
    high: float


def mean_estimate(
    values: Float[np.ndarray, "n"],
    *,
    seed: int = 0,
    draws: int = 1000,
    clusters: Int[np.ndarray, "n"] | None = None,
) -> Estimate:
    """Mean of per-image values with its percentile bootstrap (Efron 1979).

    For precision, recall, density, coverage, CLIP score. Only these images are drawn anew: what
    they were compared with, such as the real images that precision is relative to, stays.

    Args:
      values: finite numbers or booleans.
      seed: of the draws.
      draws: how many; one at a time, each takes memory for n numbers.
      clusters: which images belong together; None: each stands alone.

    Raises:
      ValueError: no values, not all finite, draws below 1, or clusters of another shape.
    """
    sums, counts = _cluster_sums(values, clusters)
    if draws < 1:
        raise ValueError(f"a bootstrap needs at least one draw, got {draws}")
    rng = np.random.default_rng(seed)
    means = np.empty(draws)
    for draw in range(draws):
        drawn = rng.integers(len(sums), size=len(sums))
        means[draw] = sums[drawn].sum() / counts[drawn].sum()
    low, high = np.percentile(means, (2.5, 97.5))
    return Estimate(float(sums.sum() / counts.sum()), float(low), float(high))


def normal_estimate(value: float, standard_error: float) -> Estimate:
    """The value ± 1.96 standard errors."""
    margin = _NORMAL_95 * standard_error
    return Estimate(float(value), float(value - margin), float(value + margin))


def standard_error_of_mean(
    values: Float[np.ndarray, "n"], clusters: Int[np.ndarray, "n"] | None = None
) -> float:
    """Standard error of the mean of values, with clusters that of a ratio of sums; NaN of one.

    Raises:
      ValueError: no values, not all finite, or clusters of another shape.
    """
    sums, counts = _cluster_sums(values, clusters)
    deviations = sums - counts * (sums.sum() / counts.sum())
    number = len(sums)
    if number < 2:
        return float("nan")
    return float(np.sqrt(number / (number - 1) * np.square(deviations).sum()) / counts.sum())


def _cluster_sums(
    values: np.ndarray, clusters: np.ndarray | None
) -> tuple[Float[np.ndarray, "c"], Float[np.ndarray, "c"]]:
    """Sum of the values and number of images of each cluster."""
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError("an interval needs finite numbers of at least one image")
    if clusters is None:
        return values, np.ones_like(values)
    if np.shape(clusters) != values.shape:
        raise ValueError(f"{len(values)} values, but clusters are {np.shape(clusters)}")
    _, place = np.unique(clusters, return_inverse=True)
    return np.bincount(place, values), np.bincount(place).astype(np.float64)


def mean_and_std(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation (n − 1); of a single value there is none.

    Raises:
      ValueError: no values.
    """
    if not values:
        raise ValueError("there is no mean of nothing")
    mean = float(np.mean(values, dtype=np.float64))
    return mean, float(np.std(values, ddof=1, dtype=np.float64)) if len(values) > 1 else None

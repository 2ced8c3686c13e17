"""The interval of FID, by leaving out groups of images (delete-a-group jackknife).

A bootstrap would not do: a sample with images drawn twice has fewer different ones, and FID grows
as images get fewer, so all draws lie above the value they should lie around. Leaving out one of G
groups at a time shifts all values by the same small amount, which their variance does not see.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from dreamda_jax.algorithms.metrics.feature_blocks import BLOCK_ROWS, FeatureSet, feature_sets
from dreamda_jax.algorithms.metrics.fid import (
    Gaussian,
    fit_gaussian,
    frechet_distance,
    gaussian_of,
)
from dreamda_jax.algorithms.metrics.intervals import Estimate, normal_estimate
from dreamda_jax.algorithms.metrics.moments import moments, remove
from dreamda_jax.types import AnyArray


def fid_estimate(
    real: Float[AnyArray, "n d"],
    synthetic: Float[AnyArray, "m d"],
    *,
    groups: int = 20,
    seed: int = 0,
    synthetic_clusters: Int[np.ndarray, "m"] | None = None,
    block_rows: int = BLOCK_ROWS,
) -> Estimate:
    """FID with an interval: where FID of as many other images of the same two kinds may lie.

    It is not an interval for the FID of infinitely many images, which is lower. Tests hold the
    standard error to 0.75 to 1.5 times the deviation of FID over repeated draws, of fewer images
    than features too; it errs on the large side.

    Both sets are split into groups at random; one of each is left out at a time. That is G + 1
    distances and two passes over the images. No group's covariance is kept: each is computed when
    it is its turn, and taken from that of all.

    Args:
      real: finite.
      synthetic: likewise.
      groups: G. The standard error is itself off by some 1/√(2G − 2) of its value, 16 % for 20.
      seed: of the split.
      synthetic_clusters: which synthetic images belong together, and to the same group, such as the
        variants of a seed; None: each stands alone.
      block_rows: as in `fid`.

    Raises:
      ValueError: as in `fid`, groups below 2, clusters of another number of images, or fewer
        real images, synthetic images or clusters than twice the groups.
    """
    sets = feature_sets(real, synthetic, metric="FID")
    if groups < 2:
        raise ValueError(f"a jackknife needs at least 2 groups, got {groups}")
    rng = np.random.default_rng(seed)
    without = []
    for each, clusters in zip(sets, (None, synthetic_clusters), strict=True):
        group_of = _split(each, clusters, groups=groups, rng=rng)
        without.append(_leave_out(each, group_of, block_rows=block_rows))
    values = np.array([frechet_distance(*(of(group) for of in without)) for group in range(groups)])
    error = np.sqrt((groups - 1) * values.var())
    whole = frechet_distance(*(of(None) for of in without))
    return normal_estimate(whole, error)


def _split(
    features: FeatureSet,
    clusters: Int[np.ndarray, "n"] | None,
    *,
    groups: int,
    rng: np.random.Generator,
) -> Int[np.ndarray, "n"]:
    """The group of every image: at random, clusters kept together, groups of equal size."""
    count = len(features.array)
    place = np.arange(count)
    if clusters is not None:
        if np.shape(clusters) != (count,):
            raise ValueError(f"{count} images, but clusters are {np.shape(clusters)}")
        _, place = np.unique(clusters, return_inverse=True)
    number = int(place.max()) + 1
    if number < 2 * groups:
        what = "images" if clusters is None else "clusters of images"
        raise ValueError(
            f"an interval of FID from {groups} groups needs at least {2 * groups} {features.name} "
            f"{what}, got {number}"
        )
    return rng.permutation(np.arange(number) % groups)[place]


def _leave_out(
    features: FeatureSet, group_of: Int[np.ndarray, "n"], *, block_rows: int
) -> Callable[[int | None], Gaussian]:
    """The fit to all images but those of a group; of None to all images."""
    count, width = features.array.shape
    if count - np.bincount(group_of).max() <= width:
        # So few are left that their covariance is singular, and the fit is made of the features.
        # Of no group all are kept: `!=` None is true everywhere.
        return lambda group: fit_gaussian(
            features, rows=np.flatnonzero(group_of != group), block_rows=block_rows
        )
    whole = moments(features, block_rows=block_rows)

    def without(group: int | None) -> Gaussian:
        if group is None:
            return gaussian_of(whole)
        rows = np.flatnonzero(group_of == group)
        return gaussian_of(remove(whole, moments(features, rows=rows, block_rows=block_rows)))

    return without

"""Precision and recall, density and coverage: whether synthetic images lie where real ones do.

Every image has a ball that reaches to its k-th nearest neighbour within its own set.

- precision: share of the synthetic images within the ball of any real one (Kynkäänniemi et al.
  2019, https://arxiv.org/abs/1904.06991)
- recall: share of the real images within the ball of any synthetic one
- density: mean number of real balls a synthetic image is in, divided by k; can exceed 1 (Naeem et
  al. 2020, https://arxiv.org/abs/2002.09797)
- coverage: share of the real images with a synthetic one in their ball

As in `prdc.compute_prdc`, an image on the surface of a ball is not within it, and neither is any
image within a ball of radius 0, around one of more than k equal images.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from dreamda_jax.algorithms.metrics.feature_blocks import (
    BLOCK_ROWS,
    FeatureSet,
    centre,
    feature_sets,
    padded,
    read_rows,
    row_blocks,
)
from dreamda_jax.algorithms.metrics.neighbours import (
    nearest_neighbours,
    pair_distances,
    squared_distances,
)
from dreamda_jax.types import AnyArray

# Of |x|² + |y|²: several times the error of a squared distance in float32.
_DOUBT = 1e-5
_NO_IMAGE = -1.0  # in the place of a radius
_PAIRS = 4096  # whose exact distances are computed at a time: 128 MB of 2048 features


class PrecisionRecall(NamedTuple):
    """Of n real and m synthetic images; the four figures are the means."""

    precision: Bool[np.ndarray, "m"]
    recall: Bool[np.ndarray, "n"]
    density: Float[np.ndarray, "m"]
    """float64, a multiple of 1/k."""
    coverage: Bool[np.ndarray, "n"]


def precision_recall(
    real: Float[AnyArray, "n d"],
    synthetic: Float[AnyArray, "m d"],
    *,
    k: int = 5,
    block_rows: int = BLOCK_ROWS,
) -> PrecisionRecall:
    """What each image adds to precision, recall, density and coverage.

    All pairs are compared in float32; those too near to the surface of a ball to tell are compared
    anew, with exact distances. Memory for 2k + 3 numbers per image besides the blocks.

    Args:
      real: finite.
      synthetic: likewise.
      k: which neighbour a ball reaches to.
      block_rows: of either set, compared at a time; of no influence on the result.

    Raises:
      ValueError: no more than k images in a set, k below 1, different widths, or a number that is
        not finite.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    metric = f"precision and recall with k={k} neighbours"
    sets = feature_sets(real, synthetic, metric=metric, least=k + 1)
    block_rows = min(block_rows, max(len(real), len(synthetic)))
    radii = [_radii(each, k=k, block_rows=block_rows) for each in sets]
    origin = centre(sets[0], block_rows=block_rows)
    recalled, covered = np.zeros(len(real), bool), np.zeros(len(real), bool)
    balls = np.zeros(len(synthetic), np.int64)
    for rows in row_blocks(len(real), block_rows):
        here = _Block(read_rows(sets[0], rows), radii[0][rows])
        for columns in row_blocks(len(synthetic), block_rows):
            there = _Block(read_rows(sets[1], columns), radii[1][columns])
            in_real, in_synthetic, of_balls = _compare(here, there, origin, block_rows=block_rows)
            covered[rows] |= in_real
            recalled[rows] |= in_synthetic
            balls[columns] += of_balls
    return PrecisionRecall(balls > 0, recalled, balls / k, covered)


class _Block(NamedTuple):
    features: Float[np.ndarray, "b d"]
    radii: Float[np.ndarray, "b"]

    def padded(self, length: int) -> tuple[np.ndarray, np.ndarray]:
        fill = (0, length - len(self.radii))
        radii = np.pad(self.radii.astype(np.float32), fill, constant_values=_NO_IMAGE)
        return padded(self.features, length), radii


def _radii(features: FeatureSet, *, k: int, block_rows: int) -> Float[np.ndarray, "n"]:
    for rows in row_blocks(len(features.array), block_rows):
        read_rows(features, rows)  # so that an error names the set
    found = nearest_neighbours(
        features.array, features.array, k=k, exclude_self=True, block_rows=block_rows
    )
    return found.distances[:, -1]


def _compare(
    real: _Block, synthetic: _Block, origin: Float[np.ndarray, "d"], *, block_rows: int
) -> tuple[Bool[np.ndarray, "b"], Bool[np.ndarray, "b"], Int[np.ndarray, "c"]]:
    """Which real images are covered and recalled, and in how many real balls synthetic ones are."""
    sizes = len(real.radii), len(synthetic.radii)
    *sure, doubtful = _compare_in_float32(
        real.padded(block_rows), synthetic.padded(block_rows), origin
    )
    covered, recalled = (np.array(found)[: sizes[0]] for found in sure[:2])
    balls = np.array(sure[2], np.int64)[: sizes[1]]
    pairs = np.argwhere(np.asarray(doubtful)) if bool(doubtful.any()) else np.zeros((0, 2), int)
    for start in range(0, len(pairs), _PAIRS):
        i, j = pairs[start : start + _PAIRS].T
        distance = pair_distances(real.features[i], synthetic.features, j[:, None])[:, 0]
        within = distance < real.radii[i]
        covered[i[within]] = True
        np.add.at(balls, j[within], 1)
        recalled[i[distance < synthetic.radii[j]]] = True
    return covered, recalled, balls


@jax.jit
def _compare_in_float32(
    real: tuple[Float[Array, "b d"], Float[Array, "b"]],
    synthetic: tuple[Float[Array, "c d"], Float[Array, "c"]],
    origin: Float[Array, "d"],
) -> tuple[Bool[Array, "b"], Bool[Array, "b"], Int[Array, "c"], Bool[Array, "b c"]]:
    """As `_compare`, without the pairs of which one or the other is in doubt; and which these are.

    The radius is `_NO_IMAGE` where a row only fills up its block.
    """
    x, y = real[0] - origin, synthetic[0] - origin
    squared = squared_distances(x, y)
    slack = _DOUBT * (jnp.sum(x * x, axis=1)[:, None] + jnp.sum(y * y, axis=1))
    beyond_real = squared - (real[1] ** 2)[:, None]  # below 0: within; never for a radius of 0
    beyond_synthetic = squared - synthetic[1] ** 2
    filled = (real[1] != _NO_IMAGE)[:, None] & (synthetic[1] != _NO_IMAGE)
    # Nothing is within a ball of radius 0: of many equal images no pair is worth an exact distance.
    doubtful = (jnp.abs(beyond_real) <= slack) & (real[1] > 0)[:, None]
    doubtful |= (jnp.abs(beyond_synthetic) <= slack) & (synthetic[1] > 0)
    sure = filled & ~doubtful
    in_real, in_synthetic = sure & (beyond_real < 0), sure & (beyond_synthetic < 0)
    return (
        in_real.any(axis=1),
        in_synthetic.any(axis=1),
        in_real.sum(axis=0),
        filled & doubtful,
    )

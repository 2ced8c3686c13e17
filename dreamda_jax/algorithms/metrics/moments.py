"""Mean and covariance in one pass over blocks of rows, in float64.

Counts, means and sums of squared deviations of parts combine without cancellation, and a part can
be taken out again: Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for
Computing Sample Variances", 1979, eq. 2.1, here for vectors.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from dreamda_jax.algorithms.metrics.feature_blocks import (
    BLOCK_ROWS,
    FeatureSet,
    read_rows,
    row_blocks,
)


class Moments(NamedTuple):
    """Of a number of rows of d numbers; float64."""

    rows: int
    mean: Float[np.ndarray, "d"]
    scatter: Float[np.ndarray, "d d"]
    """Sum of the outer products of the deviations from the mean."""

    @property
    def covariance(self) -> Float[np.ndarray, "d d"]:
        """The unbiased one, divided by rows − 1 as `np.cov` does; of two rows or more."""
        return self.scatter / (self.rows - 1)


def moments(
    features: FeatureSet,
    *,
    rows: Int[np.ndarray, "r"] | None = None,
    block_rows: int = BLOCK_ROWS,
) -> Moments:
    """Moments of all rows, or of some; memory for two [d, d] matrices and a block.

    Args:
      features: finite.
      rows: which; None: all.
      block_rows: read at a time.

    Raises:
      ValueError: no rows, or a number that is not finite.
    """
    count = len(features.array) if rows is None else len(rows)
    if not count:
        raise ValueError(f"there are no {features.name} images to take moments of")
    total: Moments | None = None
    for block in row_blocks(count, block_rows):
        part = _of_block(read_rows(features, block if rows is None else rows[block]))
        total = part if total is None else merge(total, part)
    assert total is not None
    return total


def merge(first: Moments, second: Moments) -> Moments:
    """Moments of the rows of both."""
    count = first.rows + second.rows
    shift = second.mean - first.mean
    scatter = first.scatter + second.scatter
    scatter += np.outer(shift, shift * (first.rows * second.rows / count))
    return Moments(count, first.mean + shift * (second.rows / count), scatter)


def remove(whole: Moments, part: Moments) -> Moments:
    """Moments of the rows of `whole` that are not of `part`: the inverse of `merge`.

    Raises:
      ValueError: nothing would be left.
    """
    count = whole.rows - part.rows
    if count < 1:
        raise ValueError(f"taking {part.rows} rows from {whole.rows} leaves none")
    mean = whole.mean + (whole.mean - part.mean) * (part.rows / count)
    shift = part.mean - mean
    scatter = whole.scatter - part.scatter
    scatter -= np.outer(shift, shift * (count * part.rows / whole.rows))
    return Moments(count, mean, scatter)


def _of_block(block: Float[np.ndarray, "b d"]) -> Moments:
    rows = block.astype(np.float64)
    mean = rows.mean(axis=0)
    rows -= mean
    return Moments(len(rows), mean, rows.T @ rows)

"""Nearest neighbours: of features by Euclidean distance, of perceptual hashes by differing bits.

The k nearest of m rows y to each of n rows x. A row may have any shape, [d] or [h, w]: it counts as
a vector. Both sides may be `np.memmap`: they are read in blocks of rows, so that memory grows
neither with n·m nor, beyond the result, with n or m. Every pair is compared; no index is built.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt64

from dreamda_jax.algorithms.metrics.feature_blocks import FeatureSet, padded, read_rows, row_blocks
from dreamda_jax.types import AnyArray

NO_HASH = np.uint64(0)
"""Stands for an image that has no hash (`data.perceptual_hash` gives it to flat images)."""
NO_MATCH = 65
"""Distance in bits where there is no neighbour: more than any two hashes of 64 bits have."""

# Found in float32 as |x|² + |y|² − 2xy, whose error may hide which of several very near rows is
# the nearest; so a few more are kept, and k of them taken once their distances are exact.
_SPARE = 8
_PAIR_ELEMENTS = 1 << 21  # read at once for exact distances, 16 MB in float64
_HASH_ROWS, _HASH_COLUMNS = 256, 1 << 13


class Neighbours(NamedTuple):
    """The k nearest of each row, the nearest first, of equally near ones the first of y."""

    distances: Float[np.ndarray, "n k"] | Int[np.ndarray, "n k"]
    """float64 for features; for hashes int64, `NO_MATCH` where there is no further hash."""
    indices: Int[np.ndarray, "n k"]
    """int64, rows of y; -1 where there is none."""


def squared_distances(x: Float[AnyArray, "b d"], y: Float[AnyArray, "c d"]) -> Float[Array, "b c"]:
    """All squared Euclidean distances of two blocks, float32, by one product; for use under jit.

    Its error is some 1e-6 of |x|² + |y|², so small distances far from the origin are lost in it:
    move both blocks nearer to it first. Never negative.
    """
    x, y = jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)
    product = jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST)
    squares = jnp.sum(x * x, axis=1)[:, None] + jnp.sum(y * y, axis=1)
    return jnp.maximum(squares - 2 * product, 0)


def nearest_neighbours(
    x: Float[AnyArray, "n *d"],
    y: Float[AnyArray, "m *d"],
    *,
    k: int = 1,
    exclude_self: bool = False,
    block_rows: int = 2048,
) -> Neighbours:
    """The k nearest rows of y to each row of x, on the default device.

    The distances returned are computed anew, in float64 from the differences: of equal rows they
    are 0. Which rows are the nearest is decided among the k + 8 that are so in float32.

    Args:
      x: finite, below 1e15; converted to float32.
      y: likewise.
      k: how many.
      exclude_self: row i of y is no neighbour of row i of x: for neighbours within one set, given
        as both. An exact duplicate elsewhere in the set still is one.
      block_rows: of x and y, multiplied at a time; 2048 take 16 MB for their distances.

    Raises:
      ValueError: no rows, rows of different shapes, not finite or too large, fewer than k other
        rows, or `exclude_self` with sets of different lengths.
    """
    n, m = _checked_lengths(x, y)
    if exclude_self and n != m:
        raise ValueError(f"exclude_self is for one set given twice, got {n} and {m} rows")
    others = m - exclude_self
    if not 1 <= k <= others:
        raise ValueError(f"k must be between 1 and the number of other rows {others}, got {k}")
    kept = min(k + _SPARE, others)
    rows = min(block_rows, n), min(block_rows, m)
    # Any point near the data will do as the origin; see squared_distances.
    origin = read_rows(FeatureSet(y, "y"), slice(0, rows[1])).mean(axis=0)
    sets = FeatureSet(x, "x", origin), FeatureSet(y, "y", origin)
    distances, indices = np.empty((n, k)), np.empty((n, k), np.int64)
    for here in row_blocks(n, rows[0]):
        best = np.full((rows[0], kept), np.inf, np.float32), np.zeros((rows[0], kept), np.int32)
        block = padded(read_rows(sets[0], here), rows[0])
        for there in row_blocks(m, rows[1]):
            other = padded(read_rows(sets[1], there), rows[1])
            best = _merge(*best, block, other, (here.start, there.start, there.stop), exclude_self)
        candidates = np.asarray(best[1], np.int64)[: here.stop - here.start]
        exact = pair_distances(x[here], y, candidates)
        order = np.lexsort((candidates, exact))[:, :k]
        distances[here] = np.take_along_axis(exact, order, axis=1)
        indices[here] = np.take_along_axis(candidates, order, axis=1)
    return Neighbours(distances, indices)


def pair_distances(
    x: Float[AnyArray, "n *d"], y: Float[AnyArray, "m *d"], indices: Int[np.ndarray, "n k"]
) -> Float[np.ndarray, "n k"]:
    """Distances of given pairs, float64 [n, k]: of row i of x and the rows indices[i] of y.

    Infinite where the index is -1.
    """
    n, k = indices.shape
    distances = np.empty((n, k))
    rows = max(1, _PAIR_ELEMENTS // max(1, k * int(np.prod(x.shape[1:]))))
    for here in row_blocks(n, rows):
        left = np.asarray(x[here], np.float32).reshape(here.stop - here.start, 1, -1)
        right = np.asarray(y[indices[here]], np.float32).reshape(here.stop - here.start, k, -1)
        difference = np.subtract(left, right, dtype=np.float64)
        distances[here] = np.sqrt(np.einsum("nkd,nkd->nk", difference, difference))
    distances[indices < 0] = np.inf
    return distances


def nearest_hashes(
    x: UInt64[np.ndarray, "n"], y: UInt64[np.ndarray, "m"], *, k: int = 1
) -> Neighbours:
    """The k hashes of y that differ from each of x in the fewest bits, on the host.

    For mirrored copies give the hashes of the mirrored images as x.

    Args:
      x: uint64; `NO_HASH` is near no hash, not even to itself.
      y: likewise.
      k: how many; where y has fewer hashes, `NO_MATCH` and -1 fill up.

    Raises:
      ValueError: not uint64 vectors, without rows, or k below 1.
    """
    for name, hashes in (("x", x), ("y", y)):
        if hashes.dtype != np.uint64 or hashes.ndim != 1 or not len(hashes):
            raise ValueError(
                f"{name} must be a uint64 vector of at least one hash, got {hashes.dtype} "
                f"{hashes.shape}"
            )
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    distances, indices = np.empty((len(x), k), np.int64), np.empty((len(x), k), np.int64)
    for here in row_blocks(len(x), _HASH_ROWS):
        # Distance and row in one number: the smallest are the nearest, of equal ones the first.
        best = np.full((here.stop - here.start, k), NO_MATCH << 40, np.int64)
        for there in row_blocks(len(y), _HASH_COLUMNS):
            nearest = _nearest_in_block(x[here], y[there], k) + there.start
            best = np.sort(np.concatenate((best, nearest), axis=1), axis=1)[:, :k]
        distances[here], indices[here] = best >> 40, best & ((1 << 40) - 1)
    indices[distances == NO_MATCH] = -1
    return Neighbours(distances, indices)


def _nearest_in_block(x: np.ndarray, y: np.ndarray, k: int) -> np.ndarray:
    bits = np.bitwise_count(x[:, None] ^ y)
    bits[x == NO_HASH] = NO_MATCH
    bits[:, y == NO_HASH] = NO_MATCH
    # 7 bits of distance and 13 of column: sorting 32-bit numbers is the faster.
    keys = bits.astype(np.uint32)
    keys <<= np.uint32(13)
    keys |= np.arange(len(y), dtype=np.uint32)
    if k < len(y):
        keys = np.partition(keys, k - 1, axis=1)[:, :k]
    wide = keys.astype(np.int64)
    return (wide >> 13 << 40) | (wide & (_HASH_COLUMNS - 1))


@jax.jit
def _merge(
    distances: Float[Array, "b k"],
    indices: Int[Array, "b k"],
    x: Float[Array, "b d"],
    y: Float[Array, "c d"],
    bounds: tuple[Int[Array, ""], Int[Array, ""], Int[Array, ""]],
    exclude_self: Array,
) -> tuple[Float[Array, "b k"], Int[Array, "b k"]]:
    """The nearest so far, and those of one more block of y; bounds: x's start, y's start, stop."""
    x_start, y_start, y_stop = bounds
    own = (x_start + jnp.arange(len(x)))[:, None]
    columns = jnp.broadcast_to(y_start + jnp.arange(len(y)), (len(x), len(y)))
    hidden = (columns >= y_stop) | (exclude_self & (columns == own))
    found = jnp.where(hidden, jnp.inf, squared_distances(x, y))
    negative, place = jax.lax.top_k(
        -jnp.concatenate((distances, found), axis=1), distances.shape[1]
    )
    both = jnp.concatenate((indices, columns), axis=1)
    return -negative, jnp.take_along_axis(both, place, axis=1)


def _checked_lengths(x: AnyArray, y: AnyArray) -> tuple[int, int]:
    if x.ndim < 2 or x.shape[1:] != y.shape[1:]:
        raise ValueError(f"rows of one shape are needed, got arrays {x.shape} and {y.shape}")
    if not len(x) or not len(y):
        raise ValueError(f"there are no neighbours without rows, got {len(x)} and {len(y)}")
    return len(x), len(y)

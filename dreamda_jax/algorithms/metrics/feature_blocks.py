"""Features of a set of images, read in blocks of rows and checked while they are read.

The array may be a `np.memmap`: no function of `metrics/` ever holds more of it than a block of
rows, so memory grows with the number of images only by what a docstring names per image.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from dreamda_jax.types import AnyArray

BLOCK_ROWS = 2048
"""Rows read at a time where the caller names no other number: 16 MB of 2048 features."""

_LARGEST = 1e15  # squares of larger numbers, summed, may leave float32
_UNIT_TOLERANCE = 1e-3  # in the length of an embedding: float16 on disk costs 5e-4


class FeatureSet(NamedTuple):
    """An array of features, and what its images are called in errors."""

    array: Float[AnyArray, "n d"]
    name: str
    origin: Float[np.ndarray, "d"] | None = None
    """float32, subtracted from all rows. The distance of two rows is a small difference of large
    squares in float32, unless the origin is near them."""


def feature_sets(
    real: Float[AnyArray, "n d"], synthetic: Float[AnyArray, "m d"], *, metric: str, least: int = 2
) -> tuple[FeatureSet, FeatureSet]:
    """Two sets to compare.

    Args:
      real: read later.
      synthetic: likewise, of any other number of images.
      metric: for the message.
      least: images that it needs in each set.

    Raises:
      ValueError: not matrices, different widths, or fewer images.
    """
    for name, array in (("real", real), ("synthetic", synthetic)):
        if array.ndim != 2 or not array.shape[1]:
            raise ValueError(f"{name} features must be [images, features], got {array.shape}")
    if real.shape[1] != synthetic.shape[1]:
        raise ValueError(
            f"real images have {real.shape[1]} features, synthetic ones {synthetic.shape[1]}: they "
            "are not of the same network"
        )
    if min(len(real), len(synthetic)) < least:
        raise ValueError(
            f"{metric} needs at least {least} images in each set, got {len(real)} real and "
            f"{len(synthetic)} synthetic ones"
        )
    return FeatureSet(real, "real"), FeatureSet(synthetic, "synthetic")


def row_blocks(length: int, block_rows: int) -> Iterator[slice]:
    """Slices of `block_rows` rows each, the last one shorter.

    Raises:
      ValueError: `block_rows` below 1.
    """
    if block_rows < 1:
        raise ValueError(f"block_rows must be at least 1, got {block_rows}")
    return (slice(s, min(s + block_rows, length)) for s in range(0, length, block_rows))


def read_rows(features: FeatureSet, rows: slice | Int[np.ndarray, "b"]) -> Float[np.ndarray, "b d"]:
    """Some rows as vectors, float32, relative to the origin.

    Raises:
      ValueError: a number that is not finite, or too large to be squared; the message names the
        row.
    """
    block = np.asarray(features.array[rows], np.float32)
    block = block.reshape(len(block), -1)
    good = (np.abs(block) < _LARGEST).all(axis=1)  # False for NaN too
    if not good.all():
        bad = int(np.argmin(good))
        row = (rows.start or 0) + bad if isinstance(rows, slice) else rows[bad]
        raise ValueError(
            f"{features.name} features: row {row} holds NaN, Inf or a number of {_LARGEST:g} or "
            "more"
        )
    return block if features.origin is None else block - features.origin


def padded(block: Float[np.ndarray, "b d"], length: int) -> Float[np.ndarray, "length d"]:
    """With rows of zeros at the end, so that the last block has the shape of the others."""
    return np.pad(block, ((0, length - len(block)), (0, 0)))


def centre(features: FeatureSet, *, block_rows: int) -> Float[np.ndarray, "d"]:
    """The mean of all rows, float32: an origin near them."""
    total = np.zeros(features.array.shape[1])
    for rows in row_blocks(len(features.array), block_rows):
        total += read_rows(features, rows).sum(axis=0, dtype=np.float64)
    return (total / len(features.array)).astype(np.float32)


def check_unit_length(features: FeatureSet, *, block_rows: int) -> None:
    """Checks that all rows have length 1, as CLIP's embeddings do once they are normalised.

    Raises:
      ValueError: one has not, to 1e-3.
    """
    for rows in row_blocks(len(features.array), block_rows):
        lengths = np.linalg.norm(read_rows(features, rows), axis=1)
        wrong = np.abs(lengths - 1) > _UNIT_TOLERANCE
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ValueError(
                f"{features.name} embeddings must have length 1, row {rows.start + row} has "
                f"{lengths[row]:g}"
            )

"""What a plan needs to know of a job, whichever it is; shapes that stand for its arrays."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax


class Program(NamedTuple):
    """A job's program with a certain batch.

    Attributes:
      lower: traces it for the target's devices; a `jax.stages.Lowered`.
      flops: of one call on one device.
      images: that one device makes, or trains on, in a call.
    """

    lower: Callable[[], Any]
    flops: float
    images: float


class Job(NamedTuple):
    """A configured job on a target.

    Attributes:
      about: (label, text) of the lines that say what it is.
      assumed: what was assumed because it is not on this machine.
      program: of so many rows on each device.
      size: rows on each device as configured.
      rows: what a row is, in the plural.
      field: of the configuration that holds the size, and how.
      divides: the size must divide this; 0: any will do.
      dtype: of the computation.
      parameter_bytes: of one device; what has to fit before anything else.
      resident: bytes on a device beside the program.
      num_images: that the job makes or trains on.
      calls: of each device, in the whole job.
      extra_flops: of each device, beside the calls.
      num_bytes: written to the disk.
      written: what that is.
    """

    about: list[tuple[str, str]]
    assumed: list[str]
    program: Callable[[int], Program]
    size: int
    rows: str
    field: str
    divides: int
    dtype: str
    parameter_bytes: int
    resident: int
    num_images: int
    calls: float
    extra_flops: float
    num_bytes: int
    written: str


def bytes_on_device(tree: Any) -> int:
    """Of the arrays of a tree, or of their shapes; of one device where they are split."""

    def size(leaf: Any) -> int:
        sharding = getattr(leaf, "sharding", None)
        sizes = leaf.shape if sharding is None else sharding.shard_shape(leaf.shape)
        return math.prod(sizes) * leaf.dtype.itemsize

    return sum(map(size, jax.tree.leaves(tree)))


def whole_bytes(tree: Any) -> int:
    """Of the arrays of a tree, or of their shapes, on all devices together."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def shape(sizes: tuple[int, ...], dtype: Any) -> Any:
    """Stands in for an array wherever JAX only traces."""
    return jax.ShapeDtypeStruct(sizes, dtype)


def placed(tree: Any, shardings: Any) -> Any:
    """The shapes of a tree, with a sharding for each."""
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        tree,
        shardings,
    )

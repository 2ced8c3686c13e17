"""Shapes that stand for arrays on devices that are not here."""

from typing import Any

import jax


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

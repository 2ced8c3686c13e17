"""A seed's variants, a few at a time: what bounds the memory of a call with many variants."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def in_passes(function: Callable[[Any], Any], rows: Any, *, most: int) -> Any:
    """`function` of all variants of every seed, of equally many at a time.

    Args:
      function: takes a tree of [b · m, ...], seed by seed, and returns a tree of [b · m, ...].
      rows: a tree of [b, n, ...].
      most: at most how many variants m of a seed go together; 0 is all. m divides n: of 10
        variants 5, 2 or 1 go together, not 4.

    Returns:
      A tree of [b, n, ...].
    """
    b, n = jax.tree.leaves(rows)[0].shape[:2]
    m = max(size for size in range(1, min(most or n, n) + 1) if n % size == 0)

    def one_pass(chunk: Any) -> Any:  # [b, m, ...]
        flat = jax.tree.map(lambda x: x.reshape(b * m, *x.shape[2:]), chunk)
        return jax.tree.map(lambda x: x.reshape(b, m, *x.shape[1:]), function(flat))

    split = jax.tree.map(lambda x: jnp.moveaxis(x.reshape(b, n // m, m, *x.shape[2:]), 1, 0), rows)
    made = jax.lax.map(one_pass, split)  # [passes, b, m, ...]
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1).reshape(b, n, *x.shape[3:]), made)


def of_seeds(array: jax.Array, num_rows: int) -> jax.Array:
    """[b, ...] → [num_rows, ...]: what a pass's rows have from their seeds."""
    return jnp.repeat(array, num_rows // len(array), axis=0)

"""What a training step is handed: a classifier and the views of an image, as callables."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from dreamda_jax.types import AnyArray, Params


class Network(NamedTuple):
    """A classifier in training.

    Attributes:
      forward: `(params, batch_stats, views, dropout_key) -> (logits, features, batch_stats)`, with
        the statistics of the batch.
      weak: `(key, images) -> views` of the global batch.
      strong: likewise.
      mix: `(key, views, targets) -> (views, targets)`: CutMix or mixup, or nothing.
    """

    forward: Callable[..., tuple[jax.Array, jax.Array, Params]]
    weak: Callable[[jax.Array, AnyArray], jax.Array]
    strong: Callable[[jax.Array, AnyArray], jax.Array]
    mix: Callable[[jax.Array, jax.Array, AnyArray], tuple[jax.Array, jax.Array]]


def interleave(parts: Sequence[jax.Array], rows: int) -> jax.Array:
    """Joins batches of rows · kᵢ examples so that neighbours in one stay on one device.

    One after the other, as `jnp.concatenate` joins them, every device would send most of its rows
    to another: a network sees the batch as a whole only through its mean and variance.

    Args:
      parts: [rows · kᵢ, ...], split by rows over the devices.
      rows: of which every part has a multiple.
    """
    chex.assert_shape(list(parts), (None, *parts[0].shape[1:]))
    for part in parts:
        chex.assert_is_divisible(len(part), rows)
    shape = parts[0].shape[1:]
    grouped = jnp.concatenate([part.reshape(rows, -1, *shape) for part in parts], axis=1)
    return grouped.reshape(-1, *shape)


def separate(joined: jax.Array, parts: Sequence[jax.Array], rows: int) -> list[jax.Array]:
    """The parts again: `joined` is [Σ rows · kᵢ, ...], in the order `interleave` made."""
    chex.assert_axis_dimension(joined, 0, sum(map(len, parts)))
    grouped = joined.reshape(rows, -1, *joined.shape[1:])
    ends = [sum(len(part) // rows for part in parts[: place + 1]) for place in range(len(parts))]
    split = jnp.split(grouped, ends[:-1], axis=1)
    return [part.reshape(-1, *joined.shape[1:]) for part in split]

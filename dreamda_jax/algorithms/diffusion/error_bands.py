"""The squared error by noise level, as moving averages: one batch has few rows of each level."""

import itertools
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dreamda_jax.types import AnyArray

_DECAY = 0.98  # per row of a band: an average over its last fifty


class Bands(NamedTuple):
    """Sums over the rows of each band of timesteps, older rows counting less.

    Attributes:
      errors: float32 [n], decayed sums of squared errors.
      counts: float32 [n], decayed numbers of rows.
    """

    errors: Float[Array, "n"]
    counts: Float[Array, "n"]


def no_rows(num_bands: int) -> Bands:
    """Before the first step."""
    return Bands(jnp.zeros(num_bands, jnp.float32), jnp.zeros(num_bands, jnp.float32))


def add_rows(
    bands: Bands, errors: Float[Array, "r"], timesteps: Int[AnyArray, "r"], *, num_timesteps: int
) -> Bands:
    """Takes in a batch: each band's sums decay by the number of its rows in the batch.

    Args:
      bands: so far.
      errors: of each row.
      timesteps: of each row.
      num_timesteps: T; bands are equal parts of 0 … T−1.
    """
    num_bands = len(bands.counts)
    band = jnp.clip(timesteps * num_bands // num_timesteps, 0, num_bands - 1)
    members = (band[:, None] == jnp.arange(num_bands)).astype(jnp.float32)
    counts = members.sum(axis=0)
    kept = _DECAY**counts
    return Bands(kept * bands.errors + errors @ members, kept * bands.counts + counts)


def means(bands: Bands) -> Float[Array, "n"]:
    """The average squared error of each band; NaN of a band that had no row yet."""
    return bands.errors / bands.counts


def names(num_bands: int, num_timesteps: int) -> list[str]:
    """Such as "t000-199": the timesteps of each band."""
    edges = [-(-num_timesteps * band // num_bands) for band in range(num_bands + 1)]
    digits = len(str(num_timesteps - 1))
    return [
        f"t{first:0{digits}}-{after - 1:0{digits}}" for first, after in itertools.pairwise(edges)
    ]

"""Where every random number comes from (docs/design.md §5).

    root ─ fold_in(seed image id) ─ fold_in(0)           draws that belong to the seed itself
                                  └ fold_in(variant + 1)  draws of one variant
                                                  └ fold_in(timestep) ─ fold_in(stream)

Never from a device, a host or a place in a batch: so one image can be made again alone, and any
number of devices makes the same set. Keys travel as raw uint32 data, [..., 2], which records can
store.
"""

import enum
from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt

from dreamda_jax.algorithms import random_key
from dreamda_jax.types import AnyArray

RawKeys = UInt[AnyArray, "r 2"]


class Stream(enum.IntEnum):
    """What a draw is for; two streams of one key are independent."""

    START = 0  # x_T
    POSTERIOR = 1  # x_{t⁻} ~ q(x_{t⁻} | x_t, x_0)
    STEP = 2  # z_t of a reverse step with η > 0
    PERTURBATION = 3  # ε_h at the bottleneck, or at another site
    GUIDANCE = 4  # a guidance scale of one image's own (Bag of Tricks)
    GAIN = 5  # a of z (1 + a) + b (guided imagination)
    BIAS = 6  # b of the same
    CONTEXT = 7  # noise on a learned embedding (Diffusion Inversion)
    EMBEDDING = 8  # what the learning of one starts from
    LEARNING = 9  # each step's timestep and noise, under `denoising_loss.Draw`


def seed_keys(root: UInt[AnyArray, "2"], seed_ids: Int[AnyArray, "r"]) -> RawKeys:
    """One key per seed image id: what a record stores as `key`."""
    return jax.vmap(random_key.fold_in, (None, 0))(root, seed_ids)


def own_keys(keys: RawKeys) -> RawKeys:
    """The seeds' own streams, shared by all their variants."""
    return jax.vmap(random_key.fold_in, (0, None))(keys, 0)


def variant_keys(keys: RawKeys, variants: Int[AnyArray, "n"]) -> UInt[Array, "r n 2"]:
    """One key for each seed and variant."""
    across = jax.vmap(random_key.fold_in, (None, 0))
    return jax.vmap(across, (0, None))(keys, variants + 1)


def normal(
    keys: RawKeys, timestep: Int[AnyArray, ""] | int, stream: Stream, shape: tuple[int, ...]
) -> Float[Array, "r ..."]:
    """Standard normal noise, float32 [r, *shape]; row i depends on key i alone."""
    return _draw(jax.random.normal, keys, timestep, stream, shape)


def uniform(
    keys: RawKeys, timestep: Int[AnyArray, ""] | int, stream: Stream, shape: tuple[int, ...]
) -> Float[Array, "r ..."]:
    """The same, uniform in [0, 1)."""
    return _draw(jax.random.uniform, keys, timestep, stream, shape)


def _draw(
    distribution: Callable[..., jax.Array],
    keys: RawKeys,
    timestep: Int[AnyArray, ""] | int,
    stream: Stream,
    shape: tuple[int, ...],
) -> Float[Array, "r ..."]:
    chex.assert_shape(keys, (None, 2))
    chex.assert_type(keys, jnp.uint32)

    def draw(key: UInt[AnyArray, "2"]) -> jax.Array:
        of_step = jax.random.fold_in(random_key.typed(key), timestep)
        return distribution(jax.random.fold_in(of_step, stream), shape, jnp.float32)

    return jax.vmap(draw)(keys)

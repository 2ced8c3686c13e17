"""The loss a diffusion model is trained with: the weighted squared error of its prediction.

Every random number of a row derives from the row's own key, so neither the number of devices nor
the portions in which a batch is computed change it.
"""

import enum
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt

from dreamda_jax.algorithms.diffusion import steps
from dreamda_jax.algorithms.diffusion.schedule import NoiseLevel
from dreamda_jax.types import AnyArray, Context, Denoise, Latent


class Draw(enum.IntEnum):
    """What a row's random numbers are for; two draws of one key are independent."""

    TIMESTEP = 0
    NOISE = 1
    POSTERIOR = 2  # x_0 ~ the VAE's posterior of an image
    DROPOUT = 3  # of the prompt


class Objective(NamedTuple):
    """What a network is trained to do, for every timestep.

    Attributes:
      prediction_type: "epsilon" or "v_prediction".
      level: ᾱ_t and what is made of it, [T]: `noise_level` of `alphas_cumprod`.
      weights: of the squared error, float32 [T]; see `loss_weights`.
    """

    prediction_type: str
    level: NoiseLevel
    weights: np.ndarray


class Noised(NamedTuple):
    """Rows of a batch, noised.

    Attributes:
      timesteps: int32 [r].
      latents: x_t, float32 [r, 4, h, w].
      target: what the network should predict, float32 [r, 4, h, w].
    """

    timesteps: Int[AnyArray, "r"]
    latents: Latent
    target: Latent


def row_keys(key: Array, rows: Int[AnyArray, "r"]) -> Array:
    """A key per row: `fold_in(key, place of the row in the global batch)`."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, rows)


def draw_latents(keys: Array, mean: Latent, std: Latent) -> Latent:
    """x_0 ~ N(mean, std²), the VAE's posterior, one key per row."""
    return mean + std * _normal(keys, Draw.POSTERIOR, mean.shape[1:])


def drop_prompts(keys: Array, context: Context, empty: Context, rate: float) -> Context:
    """Each row's context, or with probability `rate` that of the empty prompt.

    Args:
      keys: one per row.
      context: [r, l, d].
      empty: [l, d].
      rate: in [0, 1]; what classifier-free guidance needs a network to have seen (Ho & Salimans
        2022).
    """
    dropped = jax.vmap(lambda key: jax.random.bernoulli(_fold(key, Draw.DROPOUT), rate))(keys)
    return jnp.where(dropped[:, None, None], empty, context)


def add_training_noise(keys: Array, x0: Latent, objective: Objective) -> Noised:
    """T ~ U{0 … T−1} and x_t ~ q(x_t | x_0) for every row."""
    num_timesteps = len(objective.weights)
    timesteps = jax.vmap(
        lambda key: jax.random.randint(_fold(key, Draw.TIMESTEP), (), 0, num_timesteps)
    )(keys)
    return noised(x0, _normal(keys, Draw.NOISE, x0.shape[1:]), timesteps, objective)


def noised(
    x0: Latent, noise: Latent, timesteps: Int[AnyArray, "r"], objective: Objective
) -> Noised:
    """x_t and the network's target for given noise; v = √ᾱ ε − √(1−ᾱ) x_0 (Salimans & Ho 2022)."""
    level = NoiseLevel(
        *(jnp.asarray(field)[timesteps][:, None, None, None] for field in objective.level)
    )
    target = noise
    if objective.prediction_type == "v_prediction":
        target = level.sqrt_alpha * noise - level.sqrt_one_minus_alpha * x0
    return Noised(timesteps, steps.add_noise(x0, noise, level), target)


def squared_errors(
    denoise: Denoise, rows: Noised, context: Context, objective: Objective
) -> tuple[Float[Array, "r"], Float[Array, "r"]]:
    """(mean squared error of each row, its weight); the loss is the mean of their product.

    Args:
      denoise: the network.
      rows: noised.
      context: [r, l, d].
      objective: see `Objective`.
    """
    output = denoise(rows.latents, rows.timesteps, context)
    errors = jnp.mean(jnp.square(output - rows.target), axis=(1, 2, 3))
    return errors, jnp.asarray(objective.weights)[rows.timesteps]


def _normal(keys: UInt[AnyArray, "r 2"] | Array, draw: Draw, shape: tuple[int, ...]) -> Latent:
    return jax.vmap(lambda key: jax.random.normal(_fold(key, draw), shape, jnp.float32))(keys)


def _fold(key: Array, draw: Draw) -> Array:
    return jax.random.fold_in(key, draw)

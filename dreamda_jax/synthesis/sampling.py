"""The plain reverse process under guidance, shared by all methods that perturb no network."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dreamda_jax.algorithms.diffusion import keys as keys_lib
from dreamda_jax.algorithms.diffusion import sample, steps
from dreamda_jax.algorithms.diffusion.keys import RawKeys, Stream
from dreamda_jax.algorithms.diffusion.schedule import NoiseLevel, Schedule, Solver, make_schedule
from dreamda_jax.models.stable_diffusion.model import StableDiffusion
from dreamda_jax.synthesis.guidance import Guidance
from dreamda_jax.synthesis.method import Inputs, Outputs
from dreamda_jax.synthesis.passes import in_passes
from dreamda_jax.types import AnyArray, Latent, Params


class Rows(NamedTuple):
    """What differs among the variants of one pass.

    Attributes:
      keys: of each variant, uint32 [r, 2].
      contexts: text embeddings, [r, l, d].
      variants: the variants' numbers, int32 [r].
    """

    keys: RawKeys
    contexts: Any
    variants: Int[AnyArray, "r"]


class Sampled(NamedTuple):
    """What the reverse process gives.

    Attributes:
      latents: x_0, float32 [r, 4, h, w].
      mean_square: of the latents x_t over all steps, for each row, float32 [r].
      trajectory: x_{t⁻} after each step, float32 [r, s, 4, h, w], or None.
    """

    latents: Latent
    mean_square: Float[Array, "r"]
    trajectory: Float[Array, "r s 4 h w"] | None


def model_schedule(
    model: StableDiffusion,
    *,
    num_inference_steps: int,
    strength: float,
    eta: float,
    solver: Solver = "ddim",
) -> Schedule:
    """The last `int(N · strength)` of N steps on the noise schedule of a model.

    Raises:
      ValueError: see `make_schedule`.
    """
    settings = model.scheduler._asdict()
    del settings["prediction_type"]
    return make_schedule(
        num_inference_steps=num_inference_steps,
        strength=strength,
        eta=eta,
        solver=solver,
        **settings,
    )


def rows_of(inputs: Inputs) -> Rows:
    """Keys, contexts and numbers of all variants, each [b, n, ...]."""
    b, n = inputs.contexts.shape[:2]
    return Rows(
        keys_lib.variant_keys(inputs.keys, inputs.variants),
        inputs.contexts,
        jnp.broadcast_to(inputs.variants, (b, n)),
    )


def draw_noise(rows: Rows, schedule: Schedule, shape: tuple[int, ...]) -> Latent:
    """Of each variant's own: x_T where nothing of the seed is left, float32 [r, *shape]."""
    return keys_lib.normal(rows.keys, schedule.timesteps[0], Stream.START, shape)


def first_level(schedule: Schedule) -> NoiseLevel:
    """ᾱ at the timestep that a run starts from."""
    return NoiseLevel(*(field[0] for field in schedule.level))


def reverse(
    model: StableDiffusion,
    params: Params,
    start: Latent,
    rows: Rows,
    schedule: Schedule,
    guidance: Guidance,
    *,
    keep_trajectory: bool = False,
) -> Sampled:
    """From x_T to x_0 (Eq. 3), with fresh noise of each variant where η is above 0.

    Args:
      model: the networks.
      params: its parameters.
      start: x_T, float32 [r, 4, h, w].
      rows: of the same r.
      schedule: the executed steps.
      guidance: of the rows.
      keep_trajectory: whether to return the latents after each step.
    """
    contexts = guidance.contexts(rows.contexts)
    shape = start.shape[1:]

    def predict(latents: Latent, t: AnyArray, level: NoiseLevel) -> sample.Noises:
        output = model.denoise(params, guidance.latents(latents), t, contexts)
        epsilon = steps.to_epsilon(
            guidance.combine(output), latents, level, model.scheduler.prediction_type
        )
        return sample.Noises(epsilon, None, jnp.mean(jnp.square(latents), axis=(1, 2, 3)))

    def step_noise(_: None, t: AnyArray) -> Latent:
        if not (schedule.sigma > 0).any():  # DDIM draws nothing
            return jnp.float32(0)
        return keys_lib.normal(rows.keys, t, Stream.STEP, shape)

    made = sample.perturbed_reverse(
        predict,
        start,
        schedule,
        noise=None,
        step_noise=step_noise,
        keep_trajectory=keep_trajectory,
    )
    trajectory = None if made.trajectory is None else jnp.moveaxis(made.trajectory, 0, 1)
    return Sampled(made.latents, jnp.mean(made.mean_squares, axis=0), trajectory)


def make_variants(
    model: StableDiffusion,
    params: Params,
    inputs: Inputs,
    sample_rows: Callable[[Rows], Sampled],
    *,
    most: int,
) -> Outputs:
    """Samples and decodes all variants of a batch, at most so many of a seed at a time.

    Args:
      model: the networks.
      params: its parameters.
      inputs: the batch.
      sample_rows: makes the latents of one pass.
      most: see `in_passes`.
    """

    def one_pass(rows: Rows) -> tuple:
        made = sample_rows(rows)
        return model.decode_latents(params, made.latents), made.mean_square, made.trajectory

    images, mean_square, trajectory = in_passes(one_pass, rows_of(inputs), most=most)
    return Outputs(images, jnp.sqrt(jnp.mean(mean_square)), trajectory)

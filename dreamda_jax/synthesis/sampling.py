"""What methods share: passes over variants, guidance, and the plain reverse process."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dreamda_jax.algorithms.diffusion import keys as keys_lib
from dreamda_jax.algorithms.diffusion import sample, steps
from dreamda_jax.algorithms.diffusion.keys import RawKeys, Stream
from dreamda_jax.algorithms.diffusion.schedule import NoiseLevel, Schedule, Solver, make_schedule
from dreamda_jax.models.stable_diffusion.model import StableDiffusion
from dreamda_jax.synthesis.method import Inputs, Outputs
from dreamda_jax.types import AnyArray, Context, Latent, Params


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


class Guidance(NamedTuple):
    """Guidance away from the empty prompt.

    Attributes:
      scale: g; the number 1 switches it off and halves the rows. An array [r, 1, 1, 1] guides each
        row by its own.
      empty_context: embedding of the empty prompt, [l, d].
    """

    scale: float | jax.Array
    empty_context: AnyArray

    @property
    def copies(self) -> int:
        """Rows of the network per row of latents: 2, or 1 without guidance."""
        return 1 if isinstance(self.scale, int | float) and self.scale == 1 else 2

    def latents(self, latents: Latent) -> Latent:
        """The network's rows for these: the unconditional ones come first."""
        return jnp.concatenate([latents] * self.copies)

    def contexts(self, target: Context) -> Context:
        """[empty; target] for guidance, the target rows alone without."""
        if self.copies == 1:
            return target
        empty = jnp.broadcast_to(self.empty_context, target.shape)
        return jnp.concatenate([empty, target])

    def combine(self, output: Latent) -> Latent:
        """One guided row of every pair."""
        if self.copies == 1:
            return output
        empty, conditional = jnp.split(output, 2)
        return steps.guide(empty, conditional, self.scale)


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

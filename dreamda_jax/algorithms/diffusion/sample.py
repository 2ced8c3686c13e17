"""The reverse loop: from x_T to x_0 in one `jax.lax.scan`, with or without perturbation."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from dreamda_jax.algorithms.diffusion import steps
from dreamda_jax.algorithms.diffusion.inversion import Scan
from dreamda_jax.algorithms.diffusion.schedule import NoiseLevel, Schedule
from dreamda_jax.types import AnyArray, Latent


class Noises(NamedTuple):
    """The ε of one step.

    Attributes:
      noisy: ε̃, predicted with the perturbation, float32 [r, 4, h, w].
      clean: ε, predicted without it, where the asymmetric rule is wanted; else None.
      mean_square: mean square of what the noise was added to, or of the latents; float32 [], or of
        each row [r].
    """

    noisy: Latent
    clean: Latent | None
    mean_square: Float[Array, "..."]


class Reversed(NamedTuple):
    """What the reverse loop gives.

    Attributes:
      latents: x_0, float32 [r, 4, h, w].
      mean_squares: `Noises.mean_square` of each step, float32 [s] or [s, r].
      trajectory: x_{t⁻} after each step, float32 [s, r, 4, h, w], or None.
    """

    latents: Latent
    mean_squares: Float[Array, "s ..."]
    trajectory: Float[Array, "s r 4 h w"] | None


def perturbed_reverse(
    predict: Callable[[Latent, Int[AnyArray, ""], NoiseLevel], Noises],
    start: Latent,
    schedule: Schedule,
    *,
    noise: Any,
    step_noise: Callable[[Any, Int[AnyArray, ""]], Latent],
    perturb_latents: Callable[[Latent, Int[AnyArray, ""]], Latent] = lambda latents, _: latents,
    keep_trajectory: bool = False,
    scan: Scan = jax.lax.scan,
) -> Reversed:
    """Runs the schedule from x_T down: x_{t⁻} = √ᾱ_{t⁻} x̂_0(ε̃) + √(1−ᾱ_{t⁻}−σ²) ε_dir + σ z.

    official (the release's rule): ε_dir is ε̃. asymmetric (Eq. 6 as printed): ε_dir is the clean ε,
    so the perturbation enters x̂_0 only. `predict` says which: it returns a clean ε, or None.

    A second-order schedule adds to the mean what `steps.correct` says.

    Args:
      predict: `predict(latents, timestep, level)`.
      start: x_T, float32 [r, 4, h, w].
      schedule: the executed steps.
      noise: a pytree with leading axis s, sliced step by step; None if the steps need nothing.
      step_noise: `step_noise(slice, timestep)`: z_t for every row, float32 [r, 4, h, w].
      perturb_latents: `perturb_latents(x_t, timestep)`, before each step.
      keep_trajectory: whether to return every x_{t⁻}.
      scan: runs the steps; another than JAX's is `EncoderReuse.scan`.
    """
    is_multistep = bool(np.any(schedule.correction))

    def step(carry: tuple, now_and_recorded: tuple[Schedule, Any]) -> tuple[tuple, tuple]:
        (latents, x0_before), (now, recorded) = carry, now_and_recorded
        t = now.timesteps
        latents = perturb_latents(latents, t)
        noises = predict(latents, t, now.level)
        direction = noises.noisy if noises.clean is None else noises.clean
        x0 = steps.predict_x0(latents, noises.noisy, now.level)
        mean = steps.step_mean(x0, direction, now)
        if is_multistep:
            mean = steps.correct(mean, x0, x0_before, now)
        latents = mean + now.sigma * step_noise(recorded, t)
        kept = latents if keep_trajectory else None
        return (latents, x0 if is_multistep else None), (noises.mean_square, kept)

    carry = (start, jnp.zeros_like(start) if is_multistep else None)
    (latents, _), (mean_squares, trajectory) = scan(step, carry, (schedule, noise))
    return Reversed(latents, mean_squares, trajectory)

"""From an image's latent to the noise that makes it: CycleDiffusion and DDIM inversion.

Both run one `jax.lax.scan` over the schedule and see the network only as `predict(latents,
timestep, level) -> ε`, with the source prompt already inside.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from dreamda_jax.algorithms.diffusion import keys as keys_lib
from dreamda_jax.algorithms.diffusion import steps
from dreamda_jax.algorithms.diffusion.keys import RawKeys, Stream
from dreamda_jax.algorithms.diffusion.schedule import NoiseLevel, Schedule
from dreamda_jax.types import AnyArray, Latent

PredictEpsilon = Callable[[Latent, Int[AnyArray, ""], NoiseLevel], Latent]
Scan = Callable[[Callable[[Any, Any], tuple], Any, Any], tuple]
"""`jax.lax.scan`'s first three arguments."""


def draw_start(x0: Latent, keys: RawKeys, schedule: Schedule) -> Latent:
    """x_T ~ q(x_T | x_0) at the schedule's first timestep, one key per row."""
    noise = keys_lib.normal(keys, schedule.timesteps[0], Stream.START, x0.shape[1:])
    return steps.add_noise(x0, noise, NoiseLevel(*(field[0] for field in schedule.level)))


def cycle_diffusion_inversion(
    predict: PredictEpsilon,
    x0: Latent,
    start: Latent,
    keys: RawKeys,
    schedule: Schedule,
    *,
    scan: Scan = jax.lax.scan,
) -> Float[Array, "s r 4 h w"]:
    """The noise z_t that leads the reverse process from `start` back to `x0` exactly.

    Draws x_{t⁻} ~ q(x_{t⁻} | x_t, x_0) for each step, the last of which returns x_0 itself, and
    records z_t = (x_{t⁻} − μ_θ(x_t)) / σ_t (CycleDiffusion, arXiv 2210.05559, Alg. 1).

    Args:
      predict: ε under the source prompt.
      x0: float32 [r, 4, h, w].
      start: x_T, as `draw_start` gives it; float32 [r, 4, h, w].
      keys: uint32 [r, 2]; row i's draws depend on key i only.
      schedule: with every σ_t > 0; of the first or the second order, as the reverse process.
      scan: runs the steps; another than JAX's is `EncoderReuse.scan`.

    Returns:
      float32 [s, r, 4, h, w], in the schedule's order.
    """
    last = jnp.arange(len(schedule.timesteps)) == len(schedule.timesteps) - 1

    is_multistep = bool(np.any(schedule.correction))

    def step(carry: tuple, now_and_last: tuple[Schedule, Bool[Array, ""]]) -> tuple[tuple, Latent]:
        (latents, x0_before), (now, is_last) = carry, now_and_last
        mean = steps.posterior_mean(latents, x0, now)
        draw = keys_lib.normal(keys, now.timesteps, Stream.POSTERIOR, x0.shape[1:])
        following = jnp.where(is_last, x0, mean + now.sigma * draw)
        epsilon = predict(latents, now.timesteps, now.level)
        predicted_x0 = steps.predict_x0(latents, epsilon, now.level)
        predicted = steps.step_mean(predicted_x0, epsilon, now)
        if is_multistep:
            predicted = steps.correct(predicted, predicted_x0, x0_before, now)
        noise = steps.recover_noise(following, predicted, now)
        return (following, predicted_x0 if is_multistep else None), noise

    carry = (start, jnp.zeros_like(start) if is_multistep else None)
    _, noise = scan(step, carry, (schedule, last))
    return noise


def ddim_inversion(predict: PredictEpsilon, x0: Latent, schedule: Schedule) -> Latent:
    """x_T by running deterministic DDIM backwards (Eq. 5): exact only as the steps get small.

    Args:
      predict: ε under the source prompt.
      x0: float32 [r, 4, h, w].
      schedule: its σ_t are not used.

    Returns:
      float32 [r, 4, h, w] at the schedule's first timestep.
    """

    def step(latents: Latent, now: Schedule) -> tuple[Latent, None]:
        epsilon = predict(latents, now.previous, now.previous_level)
        return steps.ddim_inversion_step(latents, epsilon, now), None

    start, _ = jax.lax.scan(step, x0, schedule, reverse=True)
    return start

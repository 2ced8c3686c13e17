"""The algebra of one diffusion step. Each function is one equation; none calls a network.

Latents are float32 [..., 4, h, w]. `level` is a `NoiseLevel` of scalars (ᾱ_t and what is made of
it), `now` one step of a `Schedule`. Only products and sums: see `NoiseLevel`. Equation numbers are
DreamDA's (arXiv 2403.12803) unless another paper is named.
"""

from typing import Any

from dreamda_jax.algorithms.diffusion.schedule import NoiseLevel, Schedule
from dreamda_jax.types import Latent


def to_epsilon(output: Latent, latents: Latent, level: NoiseLevel, prediction_type: str) -> Latent:
    """The noise ε that the network's raw output stands for.

    v-prediction (Salimans & Ho 2022, App. D): v = √ᾱ ε − √(1−ᾱ) x_0, so ε = √ᾱ v + √(1−ᾱ) x_t.

    Raises:
      ValueError: `prediction_type` is neither "epsilon" nor "v_prediction".
    """
    if prediction_type == "epsilon":
        return output
    if prediction_type == "v_prediction":
        return level.sqrt_alpha * output + level.sqrt_one_minus_alpha * latents
    raise ValueError(f"unknown prediction_type {prediction_type!r}")


def guide(unconditional: Latent, conditional: Latent, guidance_scale: Any) -> Latent:
    """Classifier-free guidance (Ho & Salimans 2022): u + g (c − u); g a number, or [r, 1, 1, 1]."""
    return unconditional + guidance_scale * (conditional - unconditional)


def predict_x0(latents: Latent, epsilon: Latent, level: NoiseLevel) -> Latent:
    """x̂_0 = (x_t − √(1−ᾱ_t) ε) / √ᾱ_t (Eq. 2). Never clipped: these are latents, not pixels."""
    return (latents - level.sqrt_one_minus_alpha * epsilon) * level.inv_sqrt_alpha


def step_mean(x0: Latent, direction: Latent, now: Schedule) -> Latent:
    """√ᾱ_{t⁻} x̂_0 + √(1−ᾱ_{t⁻}−σ_t²) ε: the mean of Eq. 3; add σ_t z_t for a sample.

    In the asymmetric rule (Eq. 6) `x0` comes from the perturbed ε̃ and `direction` is the clean ε.
    """
    return now.previous_level.sqrt_alpha * x0 + now.direction * direction


def correct(mean: Latent, x0: Latent, x0_before: Latent, now: Schedule) -> Latent:
    """The second order of a multistep solver: see `schedule.multistep_correction`."""
    return mean + now.correction * (x0 - x0_before)


def add_noise(x0: Latent, noise: Latent, level: NoiseLevel) -> Latent:
    """A draw of q(x_t | x_0): √ᾱ_t x_0 + √(1−ᾱ_t) · noise (DDPM, Eq. 4)."""
    return level.sqrt_alpha * x0 + level.sqrt_one_minus_alpha * noise


def posterior_mean(latents: Latent, x0: Latent, now: Schedule) -> Latent:
    """Mean of q(x_{t⁻} | x_t, x_0) (DDIM, Eq. 7): Eq. 3 with the ε that joins x_0 to x_t."""
    level = now.level
    epsilon = (latents - level.sqrt_alpha * x0) * level.inv_sqrt_one_minus_alpha
    return step_mean(x0, epsilon, now)


def recover_noise(following: Latent, mean: Latent, now: Schedule) -> Latent:
    """z_t = (x_{t⁻} − μ_θ(x_t)) / σ_t (CycleDiffusion, Wu & De la Torre 2022). σ_t must be > 0."""
    return (following - mean) * now.inv_sigma


def ddim_inversion_step(latents: Latent, epsilon: Latent, now: Schedule) -> Latent:
    """One step up, from x_{t⁻} to x_t, with the ε predicted at x_{t⁻} (Eq. 5)."""
    x0 = predict_x0(latents, epsilon, now.previous_level)
    return add_noise(x0, epsilon, now.level)

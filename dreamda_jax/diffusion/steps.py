"""The algebra of one diffusion step. Each function is one equation; none calls a network.

Latents are float32 [..., 4, h, w]; `alpha` (ᾱ_t), `alpha_previous` (ᾱ_{t⁻}) and `sigma` (σ_t) are
float32 scalars. Equation numbers are DreamDA's (arXiv 2403.12803) unless another paper is named.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from dreamda_jax.types import Latent

Scalar = Float[Array, ""]


def to_epsilon(output: Latent, latents: Latent, alpha: Scalar, prediction_type: str) -> Latent:
    """The noise ε that the network's raw output stands for.

    v-prediction (Salimans & Ho 2022, App. D): v = √ᾱ ε − √(1−ᾱ) x_0, so ε = √ᾱ v + √(1−ᾱ) x_t.

    Raises:
      ValueError: `prediction_type` is neither "epsilon" nor "v_prediction".
    """
    if prediction_type == "epsilon":
        return output
    if prediction_type == "v_prediction":
        return jnp.sqrt(alpha) * output + jnp.sqrt(1 - alpha) * latents
    raise ValueError(f"unknown prediction_type {prediction_type!r}")


def guide(unconditional: Latent, conditional: Latent, guidance_scale: float) -> Latent:
    """Classifier-free guidance (Ho & Salimans 2022): u + g (c − u)."""
    return unconditional + guidance_scale * (conditional - unconditional)


def predict_x0(latents: Latent, epsilon: Latent, alpha: Scalar) -> Latent:
    """x̂_0 = (x_t − √(1−ᾱ_t) ε) / √ᾱ_t (Eq. 2). Never clipped: these are latents, not pixels."""
    return (latents - jnp.sqrt(1 - alpha) * epsilon) / jnp.sqrt(alpha)


def step_mean(x0: Latent, direction: Latent, alpha_previous: Scalar, sigma: Scalar) -> Latent:
    """√ᾱ_{t⁻} x̂_0 + √(1−ᾱ_{t⁻}−σ_t²) ε: the mean of Eq. 3; add σ_t z_t for a sample.

    In the asymmetric rule (Eq. 6) `x0` comes from the perturbed ε̃ and `direction` is the clean ε.
    """
    # Rounding can take the radicand to -1e-9 where η = 1 and t⁻ is the first timestep.
    radicand = jnp.maximum(1 - alpha_previous - sigma**2, 0)
    return jnp.sqrt(alpha_previous) * x0 + jnp.sqrt(radicand) * direction


def add_noise(x0: Latent, noise: Latent, alpha: Scalar) -> Latent:
    """A draw of q(x_t | x_0): √ᾱ_t x_0 + √(1−ᾱ_t) · noise (DDPM, Eq. 4)."""
    return jnp.sqrt(alpha) * x0 + jnp.sqrt(1 - alpha) * noise


def posterior_mean(
    latents: Latent, x0: Latent, alpha: Scalar, alpha_previous: Scalar, sigma: Scalar
) -> Latent:
    """Mean of q(x_{t⁻} | x_t, x_0) (DDIM, Eq. 7): Eq. 3 with the ε that joins x_0 to x_t."""
    epsilon = (latents - jnp.sqrt(alpha) * x0) / jnp.sqrt(1 - alpha)
    return step_mean(x0, epsilon, alpha_previous, sigma)


def recover_noise(following: Latent, mean: Latent, sigma: Scalar) -> Latent:
    """z_t = (x_{t⁻} − μ_θ(x_t)) / σ_t (CycleDiffusion, Wu & De la Torre 2022). σ_t must be > 0."""
    return (following - mean) / sigma


def ddim_inversion_step(
    latents: Latent, epsilon: Latent, alpha_previous: Scalar, alpha: Scalar
) -> Latent:
    """One step up, from x_{t⁻} to x_t, with the ε predicted at x_{t⁻} (Eq. 5)."""
    x0 = predict_x0(latents, epsilon, alpha_previous)
    return jnp.sqrt(alpha) * x0 + jnp.sqrt(1 - alpha) * epsilon

"""What guided imagination wants of an image (Zhang et al. 2023, arXiv 2211.13976, §4.1).

A score of the features that CLIP sees: the image should still be of the class CLIP took its seed
for, be less certain than the seed, and differ from the other images of the seed.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dreamda_jax.types import AnyArray


def score(
    features: Float[AnyArray, "*b n d"],
    seed_features: Float[AnyArray, "*b d"],
    class_features: Float[AnyArray, "c d"],
    logit_scale: Float[AnyArray, ""],
) -> Float[Array, "*b n"]:
    """S = s'_j + H(s') − H(s) + D_KL(σ(f') ‖ σ(f̄)) of every image.

    s and s' are CLIP's zero-shot probabilities of the seed and of the image, j the class of the
    largest s, H the entropy, f' the image's features, f̄ their mean over the images of the seed
    and σ the softmax over features. (The release hands f̄ itself to the divergence in the place
    of f', so that it says nothing of the single images; this is the paper's formula.)

    Args:
      features: f', of length 1.
      seed_features: of the seed image, of length 1.
      class_features: of the classes' texts, of length 1.
      logit_scale: what CLIP multiplies similarities by.
    """
    log_s = jax.nn.log_softmax(logit_scale * seed_features @ class_features.T)
    log_made = jax.nn.log_softmax(logit_scale * features @ class_features.T)
    kept = jnp.take_along_axis(
        jnp.exp(log_made), jnp.argmax(log_s, axis=-1)[..., None, None], axis=-1
    )[..., 0]
    informative = kept + _entropy(log_made) - _entropy(log_s)[..., None]
    log_f = jax.nn.log_softmax(features)
    log_mean = jax.nn.log_softmax(jnp.mean(features, axis=-2, keepdims=True))
    diverse = jnp.sum(jnp.exp(log_f) * (log_f - log_mean), axis=-1)
    return informative + diverse


def _entropy(log_probabilities: Float[Array, "*b c"]) -> Float[Array, "*b"]:
    return -jnp.sum(jnp.exp(log_probabilities) * log_probabilities, axis=-1)


def perturbed(
    latents: Float[AnyArray, "r 4 h w"],
    gain: Float[AnyArray, "r 4 1 1"],
    bias: Float[AnyArray, "r 4 1 1"],
) -> Float[Array, "r 4 h w"]:
    """Z' = z (1 + a) + b, with an a and a b of each channel."""
    return jnp.asarray(latents) * (1 + gain) + bias


def project(
    moved: Float[AnyArray, "r 4 h w"], centre: Float[AnyArray, "r 4 h w"], epsilon: float
) -> Float[Array, "r 4 h w"]:
    """Into the ℓ∞ ball of radius ε around the unperturbed latents."""
    return jnp.minimum(jnp.maximum(moved, centre - epsilon), centre + epsilon)

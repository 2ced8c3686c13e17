"""Losses of self-training, one value per example unless said otherwise; the caller takes means.

Logits and probabilities are float32 [b, c], classes last.
"""

import chex
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

_EPSILON = 1e-12  # of a logarithm's argument


def cross_entropy(logits: Float[Array, "b c"], targets: Float[Array, "b c"]) -> Float[Array, "b"]:
    """−Σ_c target_c log softmax(logits)_c; targets may be soft."""
    chex.assert_rank(logits, 2)
    chex.assert_equal_shape([logits, targets])
    chex.assert_type([logits, targets], float)
    return optax.softmax_cross_entropy(logits, targets)


def orthogonality(first: Float[Array, "d c"], second: Float[Array, "d c"]) -> Float[Array, ""]:
    """|W₁ᵀ W₂|, the sum over all entries (paper, Eq. 7): two heads should see different features.

    Args:
      first: kernel of one linear head, without its bias.
      second: likewise, of its partner.
    """
    chex.assert_rank(first, 2)
    chex.assert_equal_shape([first, second])
    return jnp.sum(jnp.abs(first.T @ second))


def pseudo_target(
    logits: Float[Array, "b c"], *, hard: bool, temperature: float
) -> Float[Array, "b c"]:
    """What the strong view is to predict: the weak view's class, or its softened distribution.

    No gradient flows through it.

    Args:
      logits: of the weak view.
      hard: one-hot of the largest; else softmax(logits / temperature).
      temperature: of the soft target, in (0, ∞).
    """
    chex.assert_rank(logits, 2)
    chex.assert_type(logits, float)
    logits = jax.lax.stop_gradient(logits)
    if hard:
        return jax.nn.one_hot(jnp.argmax(logits, -1), logits.shape[-1])
    return jax.nn.softmax(logits / temperature)


def consistency(
    strong_logits: Float[Array, "b c"], targets: Float[Array, "b c"], weights: Float[Array, "b"]
) -> Float[Array, "b"]:
    """λ(p_w) · H(p̂_w, p_s), the last term of the paper's stage 3 and SoftMatch's Eq. 3.

    Only the strong view gets a gradient.
    """
    chex.assert_shape(weights, (len(strong_logits),))
    targets, weights = jax.lax.stop_gradient((targets, weights))
    return weights * cross_entropy(strong_logits, targets)


def class_balance_penalty(probabilities: Float[Array, "b c"]) -> Float[Array, ""]:
    """R_A of Arazo et al. 2019 (arXiv 1908.02983), Eq. 5: KL of the batch's mean from uniform.

    Σ_c p_c log(p_c / h̄_c) with p_c = 1/c. It keeps soft labels from all becoming one class.
    """
    chex.assert_rank(probabilities, 2)
    chex.assert_type(probabilities, float)
    num_classes = probabilities.shape[-1]
    mean = jnp.mean(probabilities, axis=0)
    return -jnp.mean(jnp.log(mean + _EPSILON)) - jnp.log(float(num_classes))


def entropy(logits: Float[Array, "b c"]) -> Float[Array, "b"]:
    """R_H of Arazo et al. 2019, Eq. 6: −Σ_c h_c log h_c of the prediction."""
    return cross_entropy(logits, jax.nn.softmax(logits))

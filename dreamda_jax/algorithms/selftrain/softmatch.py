"""How much an unlabelled image counts: SoftMatch's weight, and FixMatch's fixed threshold.

SoftMatch: Chen et al. 2023 (arXiv 2301.10921), in the order of operations of USB's code
(semilearn/algorithms/softmatch/utils.py): the statistics take in the batch first, and the weight
follows from them. Probabilities are those of the weak views of the *global* batch, float32 [b, c].
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_EPSILON = 1e-6  # USB's, for classes that are never predicted


class Confidence(NamedTuple):
    """Running statistics of the predictions on unlabelled images, float32."""

    mean: Float[Array, ""]
    """μ, of the largest probability."""
    variance: Float[Array, ""]
    """σ², of the largest probability."""
    marginal: Float[Array, "c"]
    """p̄, the mean prediction; all zero before the first batch."""


def initial_confidence(num_classes: int) -> Confidence:
    """μ = 1/c, σ² = 1; p̄ starts as that of the first batch, as in USB's DistAlignEMAHook."""
    return Confidence(jnp.float32(1.0 / num_classes), jnp.float32(1.0), jnp.zeros(num_classes))


def align_uniform(
    probabilities: Float[Array, "b c"], marginal: Float[Array, "c"]
) -> Float[Array, "b c"]:
    """Uniform alignment, p · (u / p̄) normalised again: classes predicted too often count less."""
    chex.assert_rank(probabilities, 2)
    chex.assert_shape(marginal, probabilities.shape[1:])
    aligned = probabilities / (marginal + _EPSILON)  # u is a constant that normalising cancels
    return aligned / jnp.sum(aligned, -1, keepdims=True)


def gaussian_weight(
    confidence: Confidence, max_probability: Float[Array, "b"], *, n_sigma: float = 2.0
) -> Float[Array, "b"]:
    """λ(p) = exp(−min(max p − μ, 0)² / (2σ²/n²)), in (0, 1]; 1 above the mean."""
    chex.assert_rank(max_probability, 1)
    chex.assert_type(max_probability, float)
    below = jnp.minimum(max_probability - confidence.mean, 0.0)
    weight = jnp.exp(-(below**2) / (2.0 * confidence.variance / n_sigma**2))
    return jnp.where(below < 0, weight, 1.0)  # 0/0 where the variance has become 0


def softmatch_weights(
    confidence: Confidence,
    probabilities: Float[Array, "b c"],
    *,
    decay: float = 0.999,
    n_sigma: float = 2.0,
    alignment: bool = True,
) -> tuple[Float[Array, "b"], Confidence]:
    """The weight of each image of a batch, and the statistics with that batch in them.

    Args:
      confidence: before the batch.
      probabilities: of the batch's weak views; at least two images.
      decay: of the moving averages.
      n_sigma: n; the larger, the faster the weight falls below the mean.
      alignment: weigh by the aligned predictions. (The pseudo-label never is aligned.)
    """
    chex.assert_rank(probabilities, 2)
    chex.assert_shape(confidence.marginal, probabilities.shape[1:])
    probabilities = jax.lax.stop_gradient(probabilities)

    def average(old: jax.Array, new: jax.Array) -> jax.Array:
        return decay * old + (1.0 - decay) * new

    marginal = confidence.marginal
    if alignment:
        predicted = jnp.mean(probabilities, axis=0)
        is_first = jnp.sum(marginal) == 0
        marginal = jnp.where(is_first, predicted, average(marginal, predicted))
        probabilities = align_uniform(probabilities, marginal)
    largest = jnp.max(probabilities, -1)
    updated = Confidence(
        mean=average(confidence.mean, jnp.mean(largest)),
        variance=average(confidence.variance, jnp.var(largest, ddof=1)),
        marginal=marginal,
    )
    return gaussian_weight(updated, largest, n_sigma=n_sigma), updated


def fixed_weights(probabilities: Float[Array, "b c"], *, threshold: float) -> Float[Array, "b"]:
    """FixMatch (Sohn et al. 2020): 1 where the largest probability reaches the threshold."""
    chex.assert_rank(probabilities, 2)
    largest = jnp.max(jax.lax.stop_gradient(probabilities), -1)
    return (largest >= threshold).astype(jnp.float32)

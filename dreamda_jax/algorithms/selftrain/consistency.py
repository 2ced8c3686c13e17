"""The weight of each unlabelled image in the consistency loss."""

import chex
import jax
from jaxtyping import Array, Float

from dreamda_jax.algorithms.selftrain.options import Consistency
from dreamda_jax.algorithms.selftrain.softmatch import Confidence, fixed_weights, softmatch_weights


def consistency_weights(
    options: Consistency, confidence: Confidence, probabilities: Float[Array, "b c"]
) -> tuple[Float[Array, "b"], Confidence]:
    """The weight of each unlabelled image, and the statistics after it."""
    chex.assert_rank(probabilities, 2)
    chex.assert_type(probabilities, float)
    if options.weighting == "fixed":
        return fixed_weights(probabilities, threshold=options.threshold), confidence
    return softmatch_weights(
        confidence,
        jax.lax.stop_gradient(probabilities),
        decay=options.decay,
        n_sigma=options.n_sigma,
        alignment=options.alignment,
    )

"""Which consistency loss unlabelled images get."""

import dataclasses
from typing import Literal

import jax
from jaxtyping import Array, Float

from dreamda_jax.algorithms.selftrain.softmatch import Confidence, fixed_weights, softmatch_weights


@dataclasses.dataclass(frozen=True)
class Consistency:
    """λ(p_w) · H(p̂_w, p_s) and its numbers.

    Attributes:
      weighting: "softmatch" (a truncated Gaussian of the confidence) or "fixed" (FixMatch's
        threshold).
      threshold: of "fixed".
      n_sigma: of "softmatch": the larger, the less an image below the mean confidence counts.
      decay: of "softmatch": of the moving averages of the confidence.
      alignment: of "softmatch": weigh by uniformly aligned predictions.
      hard: the target is the weak view's class; else its distribution at `temperature`.
      temperature: of a soft target.
      loss_weight: of the whole term.
    """

    weighting: Literal["softmatch", "fixed"] = "softmatch"
    threshold: float = 0.95
    n_sigma: float = 2.0
    decay: float = 0.999
    alignment: bool = True
    hard: bool = True
    temperature: float = 0.5
    loss_weight: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold must be in (0, 1], got {self.threshold}")
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {self.decay}")
        for name in ("n_sigma", "temperature"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.loss_weight < 0:
            raise ValueError(f"loss_weight must not be negative, got {self.loss_weight}")

    def weights(
        self, confidence: Confidence, probabilities: Float[Array, "b c"]
    ) -> tuple[Float[Array, "b"], Confidence]:
        """The weight of each unlabelled image, and the statistics after it."""
        if self.weighting == "fixed":
            return fixed_weights(probabilities, threshold=self.threshold), confidence
        return softmatch_weights(
            confidence,
            jax.lax.stop_gradient(probabilities),
            decay=self.decay,
            n_sigma=self.n_sigma,
            alignment=self.alignment,
        )

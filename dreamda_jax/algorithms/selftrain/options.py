"""Which consistency loss unlabelled images get."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Consistency:
    """λ(p_w) · H(p̂_w, p_s) and its numbers."""

    weighting: Literal["softmatch", "fixed"] = "softmatch"
    """Of unlabelled images: "softmatch" (a truncated Gaussian of the confidence) or "fixed"
    (FixMatch's threshold)."""
    threshold: float = 0.95
    """Of "fixed"."""
    n_sigma: float = 2.0
    """Of "softmatch": the larger, the less an image below the mean confidence counts."""
    decay: float = 0.999
    """Of "softmatch": of the moving averages of the confidence."""
    alignment: bool = True
    """Of "softmatch": weigh by uniformly aligned predictions."""
    hard: bool = True
    """The target is the weak view's class; else its distribution at `temperature`."""
    temperature: float = 0.5
    """Of a soft target."""
    loss_weight: float = 1.0
    """Of the whole term."""

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

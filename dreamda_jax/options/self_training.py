"""Sections "amst" and "softmatch": self-training and semi-supervised training."""

import dataclasses
from typing import Literal

STRONG = {
    "rand_augment": True,
    "rand_augment_ops": 2,
    "rand_augment_magnitude": 9,
    "rand_augment_random_magnitude": True,
    "random_erasing": 0.0,
}
"""Section "strong", the strong view: what it has of its own; the rest is section augment's."""


@dataclasses.dataclass(frozen=True)
class Amst:
    """Asymmetric Multi-Head Self-Training and its ablations."""

    pseudo_labels: str = "amst"
    """Of synthetic images: "amst", or a rival: "seed" (the seed image's label), "soft" (the
    network's own distribution, as Arazo et al. 2019), "clip" (CLIP zero-shot, section `clip`), or a
    parquet file of verdicts that an earlier run wrote."""
    multi_head: bool = True
    """Four asymmetric heads; else one head that sees both views."""
    consistency: bool = True
    """Learn from images without an accepted label too (section `consistency`)."""
    orthogonality_weight: float = 0.001
    """λ of Eq. 7; 0 leaves the term out."""
    threshold: float = 0.01
    """τ, which the largest MC-dropout variance of an accepted image is below."""
    dropout_rate: float = 0.5
    """Before every auxiliary head, in training and in stage 2."""
    num_passes: int = 20
    """Of MC dropout."""
    label_view: Literal["eval", "own"] = "eval"
    """What stage 2 shows the heads: "eval" (the image as it is) or "own" (heads w a weak view,
    heads s a strong one)."""
    stage1_steps: int = 0
    """Optimizer steps on real images; 0: as `train` says, for the real set alone."""
    stage3_start: Literal["stage1", "fresh"] = "stage1"
    """Where stage 3 starts: "stage1" (its backbone) or "fresh" (the weights that stage 1 started
    from)."""
    labelled_views: Literal["weak", "strong", "both"] = "weak"
    """Which views of labelled images the main head learns in stage 3."""
    unlabelled_ratio: int = 1
    """Images without a label in a step, for each one with."""
    max_rounds: int = 1
    """How often stages 2 and 3 are gone through."""

    def __post_init__(self) -> None:
        if not 0 <= self.dropout_rate < 1:
            raise ValueError(f"dropout_rate must be in [0, 1), got {self.dropout_rate}")
        if self.num_passes < 2:
            raise ValueError(f"num_passes must be at least 2, got {self.num_passes}")
        for name in ("unlabelled_ratio", "max_rounds"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("orthogonality_weight", "threshold", "stage1_steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")


@dataclasses.dataclass(frozen=True)
class SoftMatch:
    """Semi-supervised training; its loss is in section `consistency`."""

    num_labels: int = 0
    """How many labelled images to draw by the run's seed, as many of each class; 0: all."""
    unlabelled_ratio: int = 7
    """Unlabelled images in a step, for each labelled one."""

    def __post_init__(self) -> None:
        if self.num_labels < 0:
            raise ValueError(f"num_labels must be 0 (all) or more, got {self.num_labels}")
        if self.unlabelled_ratio < 1:
            raise ValueError(f"unlabelled_ratio must be at least 1, got {self.unlabelled_ratio}")

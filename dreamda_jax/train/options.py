"""The sections of a configuration that self-training has besides those in `options`."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Amst:
    """Asymmetric Multi-Head Self-Training and its ablations.

    Attributes:
      pseudo_labels: of synthetic images: "amst", or a rival: "seed" (the seed image's label),
        "soft" (the network's own distribution, as Arazo et al. 2019), "clip" (CLIP zero-shot,
        section `clip`), or a parquet file of verdicts that an earlier run wrote.
      multi_head: four asymmetric heads; else one head that sees both views.
      consistency: learn from images without an accepted label too (section `consistency`).
      orthogonality_weight: λ of Eq. 7; 0 leaves the term out.
      threshold: τ, which the largest MC-dropout variance of an accepted image is below.
      dropout_rate: before every auxiliary head, in training and in stage 2.
      num_passes: of MC dropout.
      label_view: what stage 2 shows the heads: "eval" (the image as it is) or "own" (heads w a weak
        view, heads s a strong one).
      stage1_steps: optimizer steps on real images; 0: as `train` says, for the real set alone.
      stage3_start: "stage1" (its backbone) or "fresh" (the weights that stage 1 started from).
      labelled_views: which views of labelled images the main head learns in stage 3.
      unlabelled_ratio: images without a label in a step, for each one with.
      max_rounds: how often stages 2 and 3 are gone through.
    """

    pseudo_labels: str = "amst"
    multi_head: bool = True
    consistency: bool = True
    orthogonality_weight: float = 0.001
    threshold: float = 0.01
    dropout_rate: float = 0.5
    num_passes: int = 20
    label_view: Literal["eval", "own"] = "eval"
    stage1_steps: int = 0
    stage3_start: Literal["stage1", "fresh"] = "stage1"
    labelled_views: Literal["weak", "strong", "both"] = "weak"
    unlabelled_ratio: int = 1
    max_rounds: int = 1

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
    """Semi-supervised training; its loss is in section `consistency`.

    Attributes:
      num_labels: how many labelled images to draw by the run's seed, as many of each class; 0: all.
      unlabelled_ratio: unlabelled images in a step, for each labelled one.
    """

    num_labels: int = 0
    unlabelled_ratio: int = 7

    def __post_init__(self) -> None:
        if self.num_labels < 0:
            raise ValueError(f"num_labels must be 0 (all) or more, got {self.num_labels}")
        if self.unlabelled_ratio < 1:
            raise ValueError(f"unlabelled_ratio must be at least 1, got {self.unlabelled_ratio}")


@dataclasses.dataclass(frozen=True)
class Clip:
    """Which CLIP tells classes without training.

    Attributes:
      path: a directory in transformers' layout, a hub id, or "sample" for the packaged tiny one.
      revision: branch, tag or commit of a hub id.
      template: the prompt of a class.
    """

    path: str = "sample"
    revision: str | None = None
    template: str = "a photo of a {class}"


@dataclasses.dataclass(frozen=True)
class Audit:
    """The check of labels that self-training gave.

    Attributes:
      oracle: directory of a classifier to compare labels with: "sample" for the packaged one, or
        what `train` saved; None: no comparison.
    """

    oracle: str | None = None

"""The sections of a configuration that self-training has besides those in `options`."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Train:
    """A training job; its numbers are in `train.recipes.Recipe`.

    Attributes:
      method: "supervised": cross-entropy on the labels there are; "amst": self-training on real and
        synthetic images (section `amst`); "softmatch": semi-supervised training with an unlabelled
        set (sections `softmatch`, `unlabelled`).
      output: a new directory, or one that an interrupted run of the same configuration made.
      recipe: a name of `train.recipes.RECIPES`; every field of a recipe can be given beside it.
      num_runs: trainings that differ in their seed only: `seed`, `seed` + 1, …
      seed: of initialisation, order and augmentation of the first run.
      checkpoint_every: steps between two validations and checkpoints; 0: once an epoch, but at
        most fifty times in all.
      log_every: steps between two lines of the log.
      fsdp: over how many devices parameters and optimizer state are split.
    """

    method: Literal["supervised", "amst", "softmatch"] = "supervised"
    output: str = "runs/classifier"
    recipe: str = "official"
    num_runs: int = 1
    seed: int = 0
    checkpoint_every: int = 0
    log_every: int = 10
    fsdp: int = 1

    def __post_init__(self) -> None:
        for name in ("num_runs", "log_every", "fsdp"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.checkpoint_every < 0:
            raise ValueError(f"checkpoint_every must be 0 or more, got {self.checkpoint_every}")
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed must be in [0, 2^31), got {self.seed}")


@dataclasses.dataclass(frozen=True)
class Classifier:
    """Which network, from which weights, on images of which size.

    Attributes:
      name: of `models.classifiers.registry.ARCHITECTURES`.
      weights: "scratch", "pretrained" (the architecture's standard ImageNet-1K weights from the
        hub), or a safetensors file, a directory with one, or a hub id.
      stem: of the ResNets: "imagenet" (7x7, stride 2, pooled) or "small" (3x3, for 32 pixels).
      image_size: side that the network sees; 0: the architecture's usual one.
      canvas: side to which images are decoded, of which training crops at random and evaluation
        takes the centre; 0: 8/7 of `image_size`, as 256 for 224.
      crop: how an image becomes a square canvas: "center" or "squash".
      dtype: of the computation; parameters are float32.
    """

    name: str = "resnet50"
    weights: str = "scratch"
    stem: Literal["imagenet", "small"] = "imagenet"
    image_size: int = 0
    canvas: int = 0
    crop: Literal["center", "squash"] = "center"
    dtype: Literal["float32", "bfloat16"] = "bfloat16"

    def __post_init__(self) -> None:
        if self.image_size < 0 or self.canvas < 0:
            raise ValueError(
                f"image_size and canvas must not be negative, got {self.image_size}, {self.canvas}"
            )
        if self.image_size and self.canvas and self.canvas < self.image_size:
            raise ValueError(f"canvas={self.canvas} is smaller than image_size={self.image_size}")


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """What a classifier is trained on.

    Attributes:
      train_on: "real" (section `source`), "synthetic" or "mixed".
      synthetic: directory of a synthetic set; None: the one this configuration's
        `python -m dreamda_jax.generate` makes (`output.path`).
      synthetic_ratio: share of synthetic images in the stream of "mixed"; None: as many as there
        are, every image once an epoch.
      expansion: at most so many variants of a seed image; 0: all.
    """

    train_on: Literal["real", "synthetic", "mixed"] = "real"
    synthetic: str | None = None
    synthetic_ratio: float | None = None
    expansion: int = 0

    def __post_init__(self) -> None:
        if self.synthetic_ratio is not None and not 0 < self.synthetic_ratio < 1:
            raise ValueError(
                f"synthetic_ratio must be between 0 and 1, got {self.synthetic_ratio}; use "
                "train_on='real' or 'synthetic' for one set alone"
            )
        if self.expansion < 0:
            raise ValueError(f"expansion must be 0 (all) or more, got {self.expansion}")


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
class Audit:
    """The check of labels that self-training gave.

    Attributes:
      oracle: directory of a classifier to compare labels with: "sample" for the packaged one, or
        what `train` saved; None: no comparison.
    """

    oracle: str | None = None

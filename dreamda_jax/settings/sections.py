"""The sections of a configuration as checked values; `command_line.bind` fills them.

The method's section is the method's own dataclass, the source's is the keyword arguments of the
source.
"""

import dataclasses
from typing import Literal

SECTIONS = (
    *("model", "source", "image", "prompt", "method", "synthesis", "output", "loader"),
    *("classifier", "data", "augment", "train", "validation", "test"),
    *("strong", "amst", "softmatch", "consistency", "unlabelled", "clip", "audit"),
    *("evaluate", "finetune", "prompts"),
)
"""Of any configuration: one file serves every entry point, and each reads its own."""


@dataclasses.dataclass(frozen=True)
class Model:
    """Which checkpoint.

    Attributes:
      path: a directory in diffusers' layout, a hub id, or "sample" for the packaged tiny model.
      revision: branch, tag or commit of a hub id.
      dtype: of parameters and network computation; scheduler arithmetic is always float32.
      attention: of the U-Net's image tokens to each other when images are made: "auto" takes a
        fused kernel on GPUs (bfloat16) and TPUs, "plain" none.
    """

    path: str
    revision: str | None = None
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    attention: Literal["auto", "plain"] = "auto"


@dataclasses.dataclass(frozen=True)
class Image:
    """How seed images become squares.

    Attributes:
      resolution: side in pixels.
      crop: "center" (short side to size, then cut) or "squash" (both sides to size).
    """

    resolution: int = 512
    crop: Literal["center", "squash"] = "center"


@dataclasses.dataclass(frozen=True)
class Synthesis:
    """How much to make, and in which portions.

    Attributes:
      num_variants: synthetic images per seed image: the expansion.
      max_seeds: take only so many seed images, evenly spread over the set; 0 takes all.
      seed: of every random draw.
      seeds_per_device: seed images per call of the program on one device.
      seeds_per_shard: seed images whose variants share an output file, the unit of resumption.
    """

    num_variants: int = 10
    max_seeds: int = 0
    seed: int = 0
    seeds_per_device: int = 1
    seeds_per_shard: int = 8

    def __post_init__(self) -> None:
        for name in ("num_variants", "seeds_per_device", "seeds_per_shard"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.seeds_per_shard % self.seeds_per_device:
            raise ValueError(
                f"seeds_per_shard={self.seeds_per_shard} must be a multiple of "
                f"seeds_per_device={self.seeds_per_device}"
            )
        if self.max_seeds < 0:
            raise ValueError(f"max_seeds must be 0 (all) or more, got {self.max_seeds}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be in [0, 2^32), got {self.seed}")


@dataclasses.dataclass(frozen=True)
class Output:
    """Where the synthetic set goes.

    Attributes:
      path: a new directory, or one that an interrupted run of the same configuration made.
      format: of the images.
      quality: 1 to 95, of JPEG.
    """

    path: str
    format: Literal["png", "jpeg"] = "png"
    quality: int = 95

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 95:
            raise ValueError(f"quality must be in [1, 95], got {self.quality}")


@dataclasses.dataclass(frozen=True)
class Loader:
    """How seed images are read; changes no output.

    Attributes:
      num_workers: worker processes that decode; 0 decodes in threads of the main process.
    """

    num_workers: int = 4

    def __post_init__(self) -> None:
        if self.num_workers < 0:
            raise ValueError(f"num_workers must not be negative, got {self.num_workers}")


@dataclasses.dataclass(frozen=True)
class Train:
    """A training job; its numbers are in `training.recipes.Recipe`.

    Attributes:
      method: "supervised": cross-entropy on the labels there are; "amst": self-training on real and
        synthetic images (section `amst`); "softmatch": semi-supervised training with an unlabelled
        set (sections `softmatch`, `unlabelled`).
      output: a new directory, or one that an interrupted run of the same configuration made.
      recipe: a name of `training.recipes.RECIPES`; every field of a recipe can be given beside it.
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

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
        "float16" is for cards whose tensor cores know no bfloat16 (T4, V100): the VAE, which
        overflows in it, is float32 then, and nothing can be trained.
      attention: of the U-Net's image tokens to each other when images are made: "auto" takes a
        fused kernel on GPUs since Ampere (bfloat16) and TPUs, "plain" none.
    """

    path: str
    revision: str | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
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

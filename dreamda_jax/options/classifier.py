"""Sections "classifier", "data" and "audit": which network learns from which images."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Classifier:
    """Which network, from which weights, on images of which size."""

    name: str = "resnet50"
    """Of `models.classifiers.registry.ARCHITECTURES`."""
    weights: str = "scratch"
    """Where it starts: "scratch", "pretrained" (the architecture's standard ImageNet-1K weights
    from the hub), or a safetensors file, a directory with one, or a hub id."""
    stem: Literal["imagenet", "small"] = "imagenet"
    """Of the ResNets: "imagenet" (7x7, stride 2, pooled) or "small" (3x3, for 32 pixels)."""
    image_size: int = 0
    """Side that the network sees; 0: the architecture's usual one."""
    canvas: int = 0
    """Side to which images are decoded, of which training crops at random and evaluation takes the
    centre; 0: 8/7 of `image_size`, as 256 for 224."""
    crop: Literal["center", "squash"] = "center"
    """How an image becomes a square canvas: "center" or "squash"."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Of the computation; parameters are float32."""

    def __post_init__(self) -> None:
        if self.image_size < 0 or self.canvas < 0:
            raise ValueError(
                f"image_size and canvas must not be negative, got {self.image_size}, {self.canvas}"
            )
        if self.image_size and self.canvas and self.canvas < self.image_size:
            raise ValueError(f"canvas={self.canvas} is smaller than image_size={self.image_size}")


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """What a classifier is trained on."""

    train_on: Literal["real", "synthetic", "mixed"] = "real"
    """Which images: "real" (section `source`), "synthetic" or "mixed"."""
    synthetic: str | None = None
    """Directory of a synthetic set; None: the one this configuration's `python -m
    dreamda_jax.generate` makes (`output.path`)."""
    synthetic_ratio: float | None = None
    """Share of synthetic images in the stream of "mixed"; None: as many as there are, every image
    once an epoch."""
    expansion: int = 0
    """At most so many variants of a seed image; 0: all."""

    def __post_init__(self) -> None:
        if self.synthetic_ratio is not None and not 0 < self.synthetic_ratio < 1:
            raise ValueError(
                f"synthetic_ratio must be between 0 and 1, got {self.synthetic_ratio}; use "
                "train_on='real' or 'synthetic' for one set alone"
            )
        if self.expansion < 0:
            raise ValueError(f"expansion must be 0 (all) or more, got {self.expansion}")


@dataclasses.dataclass(frozen=True)
class Audit:
    """The check of labels that self-training gave."""

    oracle: str | None = None
    """Directory of a classifier to compare labels with: "sample" for the packaged one, or what
    `train` saved; None: no comparison."""

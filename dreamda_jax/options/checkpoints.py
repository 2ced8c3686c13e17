"""Sections "model" and "clip": which networks are loaded."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Model:
    """Which checkpoint."""

    path: str = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    """A directory in diffusers' layout, a hub id, or "sample" for the packaged tiny model."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Of parameters and network computation; scheduler arithmetic is always float32."""
    attention: Literal["auto", "plain"] = "auto"
    """Of the U-Net's image tokens to each other when images are made: "auto" takes a fused kernel
    on GPUs since Ampere (bfloat16) and TPUs, "plain" none."""


@dataclasses.dataclass(frozen=True)
class Clip:
    """Which CLIP tells classes without training."""

    path: str = "openai/clip-vit-large-patch14"
    """A directory in transformers' layout, a hub id, or "sample" for the packaged tiny one."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    template: str = "a photo of a {class}"
    """The prompt of a class."""

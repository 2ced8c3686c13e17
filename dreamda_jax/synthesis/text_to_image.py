"""Stable Diffusion as it is: images from prompts alone; a seed gives its label and its keys."""

import dataclasses
from typing import ClassVar

from dreamda_jax.synthesis.plain import FromNoise


@dataclasses.dataclass(frozen=True)
class TextToImage(FromNoise):
    """The method with no options but those of sampling; all N steps are executed."""

    name: ClassVar[str] = "text_to_image"

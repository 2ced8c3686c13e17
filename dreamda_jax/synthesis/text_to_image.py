"""Stable Diffusion as it is: images from prompts alone; a seed gives its label and its keys."""

import dataclasses

from dreamda_jax.options.methods import TextToImageOptions
from dreamda_jax.synthesis.plain import FromNoise


@dataclasses.dataclass(frozen=True)
class TextToImage(TextToImageOptions, FromNoise):
    """The method; its options are explained in `TextToImageOptions`."""

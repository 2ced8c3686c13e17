"""One image of a source, decoded, and its label, checked: what batches are made of."""

import dataclasses
from typing import NamedTuple

import numpy as np

from dreamda_jax.data.sources import Source
from dreamda_jax.data.sources.classes import checked_label
from dreamda_jax.data.transforms import Crop, ImageError, decode_image


class LabelledImage(NamedTuple):
    """A decoded image, or the reason why there is none."""

    label: int
    pixels: np.ndarray | None
    """uint8 [resolution, resolution, 3]; None if the image cannot be decoded."""
    error: str
    """"name: reason", such as "cats/1.jpg: truncated"; empty if the image is good."""


@dataclasses.dataclass(frozen=True)
class ReadImage:
    """Index -> LabelledImage; a class rather than a closure, so that it pickles by reference."""

    source: Source
    resolution: int
    crop: Crop

    def __call__(self, index: int) -> LabelledImage:
        """Reads the image at a place of the source; only `ImageError` becomes a result.

        Raises:
          UserError: its label names no class.
          ValueError: a bad `resolution` or `crop`.
          Exception: whatever the source or the disk raises.
        """
        example = self.source[index]
        label = checked_label(self.source, example.name, example.label)
        try:
            image = decode_image(example.content, resolution=self.resolution, crop=self.crop)
        except ImageError as error:
            return LabelledImage(label, None, f"{example.name}: {error}")
        return LabelledImage(label, image.pixels, "")

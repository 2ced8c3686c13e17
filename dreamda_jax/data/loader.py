"""Decoding images: one as a Grain transformation, many seeds ahead of time."""

import dataclasses
from collections.abc import Generator, Sequence
from typing import NamedTuple

import numpy as np

from dreamda_jax.data.read_ahead import read_ahead
from dreamda_jax.data.sources import Source
from dreamda_jax.data.sources.classes import checked_label
from dreamda_jax.data.tonal_range import is_narrow
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
            image = decode_image(
                example.content,
                resolution=self.resolution,
                crop=self.crop,
                grey_max=example.grey_max,
            )
        except ImageError as error:
            return LabelledImage(label, None, f"{example.name}: {error}")
        return LabelledImage(label, image.pixels, "")


class Seed(NamedTuple):
    """One seed image, ready for the VAE, or the reason why there is none."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody calls on a record
    """Its place in the source: the seed image id."""
    name: str
    label: int
    text: str | None
    pixels: np.ndarray | None
    """uint8 [resolution, resolution, 3]; None if the image could not be decoded."""
    error: str | None
    """Short reason such as "truncated"; None if the image is good."""
    enlarged: bool
    """The original was smaller than the target on a side that counts."""
    narrow: bool = False
    """It uses under an eighth of the range from black to white."""


def load_seeds(
    source: Source,
    indices: Sequence[int],
    *,
    resolution: int,
    crop: Crop,
    num_workers: int = 0,
    num_threads: int = 2,
    prefetch: int = 16,
) -> Generator[Seed, None, None]:
    """Reads and decodes seeds in the order asked for, ahead of the consumer.

    Closing the iterator early (`close()`, or leaving a `with contextlib.closing(...)`) stops the
    threads and worker processes. The result does not depend on `num_workers` or `num_threads`.

    Args:
      source: where the images are; it is pickled when there are worker processes.
      indices: seed image ids, in any order, repeats allowed.
      resolution: side of the square result.
      crop: "center" or "squash"; see `transforms.decode_image`.
      num_workers: decoding processes; 0 decodes in threads of this process. Each takes seconds to
        start, since it imports Grain and the caller's main module afresh.
      num_threads: decoding threads in each process (Pillow lets go of the GIL while decoding).
      prefetch: how many decoded seeds to hold ready, over all processes.

    Yields:
      Exactly one `Seed` for each index. An image that cannot be used has `error` set.

    Raises:
      ValueError: a negative number of workers or threads, `prefetch` below 1, a bad `crop`.
      Exception: whatever the source or the disk raises; only `ImageError` becomes a `Seed`.
    """
    if resolution < 1 or crop not in ("center", "squash"):
        raise ValueError(f"bad resolution {resolution} or crop {crop!r}")
    decode = _Decode(source=source, resolution=resolution, crop=crop)
    return read_ahead(
        decode,
        [int(index) for index in indices],
        num_workers=num_workers,
        num_threads=num_threads,
        prefetch=prefetch,
    )


@dataclasses.dataclass(frozen=True)
class _Decode:
    """Index -> Seed; a class rather than a closure, so that it pickles by reference."""

    source: Source
    resolution: int
    crop: Crop

    def __call__(self, index: int) -> Seed:
        example = self.source[index]
        try:
            image = decode_image(
                example.content,
                resolution=self.resolution,
                crop=self.crop,
                grey_max=example.grey_max,
            )
        except ImageError as error:
            return Seed(
                example.index, example.name, example.label, example.text, None, str(error), False
            )
        return Seed(
            example.index,
            example.name,
            example.label,
            example.text,
            image.pixels,
            None,
            # The short side decides for both ways of cropping.
            min(image.width, image.height) < self.resolution,
            is_narrow(image.pixels),
        )

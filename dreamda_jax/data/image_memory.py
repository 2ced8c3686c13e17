"""How much memory an image takes while it is decoded, known from its header.

A worker has about a gigabyte for one image. What would take more is refused before a pixel is
decoded; what is large is turned to RGB and reduced strip by strip, so that beside the decoded image
there is little.
"""

from collections.abc import Callable

from PIL import Image

MOST_BYTES = 1_000_000_000
"""That an image may take: the file's content, the decoded pixels and what is made of them."""

LARGE = 40_000_000
"""Pixels from which an image is reduced strip by strip; a phone's largest has 50 million."""

_STRIP = 4_000_000  # pixels that are converted at once
_WORKING = 200_000_000  # bytes that converting a strip takes at most, with the resized image
_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2, "LA": 4, "PA": 4}
_PIXEL = 4  # of all other modes
# What decoders hold besides the pixels, for each of them: libwebp and libavif all of their own,
# OpenJPEG 32 bits of each channel, libjpeg the coefficients of a progressive image.
_DECODERS = {"WEBP": 4, "AVIF": 8, "JPEG2000": 16}
_PROGRESSIVE = 6


def needed_bytes(image: Image.Image, *, num_content: int) -> int:
    """What decoding an image and making it square RGB takes at most.

    Args:
      image: opened, not loaded.
      num_content: bytes of the file.
    """
    width, height = image.size
    of_pixel = _BYTES.get(image.mode, _PIXEL) + _DECODERS.get(image.format or "", 0)
    if image.info.get("progressive") or image.info.get("progression"):
        of_pixel += _PROGRESSIVE
    if width * height <= LARGE:
        return num_content + width * height * (of_pixel + 2 * _PIXEL)
    factor = min(width, height) // 8 or 1  # a strip of one row cannot be reduced
    of_pixel += _PIXEL if factor == 1 else 0
    return num_content + width * height * of_pixel + _WORKING


def reduced(
    image: Image.Image, to_rgb: Callable[[Image.Image], Image.Image], *, resolution: int
) -> Image.Image:
    """A large image as RGB, smaller by a whole number and still four times the resolution wanted.

    Every pixel of the result is the mean of a square (Pillow's `reduce`).

    Args:
      image: loaded.
      to_rgb: converts a strip; what it does to a pixel may not depend on others.
      resolution: side of what is made of it.
    """
    width, height = image.size
    factor = max(1, min(width, height) // (4 * resolution))
    rows = max(1, _STRIP // width // factor) * factor
    whole = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    for top in range(0, height, rows):
        strip = to_rgb(image.crop((0, top, width, min(top + rows, height))))
        whole.paste(strip.reduce(factor) if factor > 1 else strip, (0, top // factor))
    return whole

"""Grey of more than eight bits, whose values have no range that everybody agrees on, as bytes.

The range is the smallest of 0..1 (float only), 0..255 (not for 16-bit modes, whose range is known)
and 0..65535 that holds every value of an image; failing all of them, the image's own minimum and
maximum. Where the file says how many bits count, and no value has more, it is that of these bits.
"""

from collections.abc import Iterator

import numpy as np
from PIL import Image

from dreamda_jax.data.image_kinds import ImageError

Range = tuple[float, float]
"""What is black and what is white."""

_PIXELS = 4_000_000  # at once: in float64, a few times over
_TOPS = {"I": (255.0, 65535.0), "F": (1.0, 255.0, 65535.0)}


def is_wide(mode: str) -> bool:
    """Whether a mode of Pillow's is grey of more than eight bits."""
    return mode in ("I", "F") or mode.startswith("I;16")


def range_of(image: Image.Image, *, significant_bits: int | None = None) -> Range:
    """The range of a whole image.

    Args:
      image: of such a mode, loaded.
      significant_bits: of its samples, as the file says.

    Raises:
      ImageError: no value is a finite number.
    """
    low, high = _extremes(image)
    if significant_bits is not None and low >= 0 and high < 2**significant_bits:
        return 0.0, 2.0**significant_bits - 1
    tops = _TOPS.get(image.mode, (65535.0,))
    top = next((top for top in tops if high <= top), None) if low >= 0 else None
    if top is not None:
        return 0.0, top
    return low, low + max(high - low, float(np.finfo(np.float64).tiny))


def to_bytes(values: np.ndarray, between: Range) -> np.ndarray:
    """Scales pixels [h, w] to uint8; NaN and infinities count as black."""
    low, top = between
    scaled = np.empty(values.shape, np.uint8)
    rows = max(1, _PIXELS // max(values.shape[1], 1))
    for first in range(0, len(values), rows):
        wide = values[first : first + rows].astype(np.float64)
        wide = np.where(np.isfinite(wide), wide, low) - low
        scaled[first : first + rows] = np.round(wide * (255.0 / (top - low)))
    return scaled


def _extremes(image: Image.Image) -> Range:
    lows, highs = [], []
    for strip in _strips(image):
        finite = strip[np.isfinite(strip)]
        if finite.size:
            lows.append(float(finite.min()))
            highs.append(float(finite.max()))
    if not lows:
        raise ImageError("no finite pixel value")
    return min(lows), max(highs)


def _strips(image: Image.Image) -> Iterator[np.ndarray]:
    width, height = image.size
    rows = max(1, _PIXELS // width)
    for top in range(0, height, rows):
        yield np.asarray(image.crop((0, top, width, min(top + rows, height))))

"""Grey of more than eight bits, whose values have no range that everybody agrees on, as bytes.

The range is the smallest of 0..1 (float only), 0..255 (not for 16-bit modes, whose range is known)
and 0..65535 that holds every value of an image; failing all of them, the image's own minimum and
maximum. Where the file says what its highest value is, and none is above, it is from 0 to that.
"""

from collections.abc import Iterator

import numpy as np
from PIL import Image

from dreamda_jax.data.image_kinds import ImageError

Range = tuple[float, float]
"""What is black and what is white."""

_PIXELS = 4_000_000  # at once: in float64, a few times over
_NO_VALUE = 3.4e38  # the ends of float32 are at 3.4028e38
_TOPS = {"I": (255.0, 65535.0), "F": (1.0, 255.0, 65535.0)}


def is_wide(mode: str) -> bool:
    """Whether a mode of Pillow's is grey of more than eight bits."""
    return mode in ("I", "F") or mode.startswith("I;16")


def range_of(image: Image.Image, *, stated_white: float | None = None) -> Range:
    """The range of a whole image.

    Args:
      image: of such a mode, loaded.
      stated_white: the highest value that its samples can have, as the file says.

    Raises:
      ImageError: no value is a finite number.
    """
    low, high = _extremes(image)
    if stated_white is not None and low >= 0 and high <= stated_white:
        return 0.0, stated_white
    tops = _TOPS.get(image.mode, (65535.0,))
    top = next((top for top in tops if high <= top), None) if low >= 0 else None
    if top is not None:
        return 0.0, top
    return low, low + max(high - low, float(np.finfo(np.float64).tiny))


def to_bytes(values: np.ndarray, between: Range) -> np.ndarray:
    """Scales pixels [h, w] to uint8; what lies outside of the range is black or white.

    What is no number counts as black: NaN, infinities, and the ends of float32, by which maps mark
    places without a value.
    """
    low, top = between
    scaled = np.empty(values.shape, np.uint8)
    rows = max(1, _PIXELS // max(values.shape[1], 1))
    for first in range(0, len(values), rows):
        wide = values[first : first + rows].astype(np.float64)
        wide = np.where(_is_value(wide), wide, low) - low
        scaled[first : first + rows] = np.round(np.clip(wide * (255.0 / (top - low)), 0, 255))
    return scaled


def as_unsigned(image: Image.Image) -> Image.Image:
    """32-bit counts that were taken for signed, as floats (mode "F")."""
    return Image.fromarray(np.asarray(image).view(np.uint32).astype(np.float32))


def _is_value(values: np.ndarray) -> np.ndarray:
    return np.isfinite(values) & (np.abs(values) < _NO_VALUE)


def _extremes(image: Image.Image) -> Range:
    lows, highs = [], []
    for strip in _strips(image):
        finite = strip[_is_value(strip)]
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

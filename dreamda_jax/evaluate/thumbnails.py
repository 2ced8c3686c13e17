"""Encoded pictures for the report: small, so that a page with hundreds of them can be opened."""

import io

import numpy as np
from PIL import Image

MOST_PIXELS = 256  # a side
_LOSSLESS_UP_TO = 96  # a side; small images are small files, and JPEG shows in them
_QUALITY = 85


def encode(pixels: np.ndarray) -> bytes:
    """An image as PNG if it is small, else as JPEG of at most 256 pixels a side.

    Args:
      pixels: uint8 [h, w, 3].
    """
    picture = Image.fromarray(pixels)
    data = io.BytesIO()
    if max(picture.size) <= _LOSSLESS_UP_TO:
        picture.save(data, "PNG", optimize=True)
    else:
        picture.thumbnail((MOST_PIXELS, MOST_PIXELS), Image.Resampling.LANCZOS)
        picture.save(data, "JPEG", quality=_QUALITY)
    return data.getvalue()

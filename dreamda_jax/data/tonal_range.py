"""How much of the range from black to white an image uses."""

import numpy as np

_LEVELS = 256
_NARROW = _LEVELS // 8
_OUTLIERS = 0.001  # of all values at either end: a hot pixel or a stamp does not make a picture


def is_narrow(pixels: np.ndarray) -> bool:
    """Whether an image uses under an eighth of the range, such as one that is nearly black.

    Mostly data of 10 to 14 bits in files of 16, or class numbers in place of a picture.

    Args:
      pixels: uint8, any shape.
    """
    counts = np.bincount(pixels.ravel(), minlength=_LEVELS)
    upto = np.cumsum(counts) / pixels.size
    low = int(np.searchsorted(upto, _OUTLIERS, side="right"))
    high = int(np.searchsorted(upto, 1 - _OUTLIERS))
    return high - low < _NARROW

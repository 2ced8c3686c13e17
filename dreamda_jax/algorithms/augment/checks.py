"""What the public functions of this package demand of shapes and types, checked while tracing."""

from typing import Any

import chex
import numpy as np


def check_images(images: Any) -> None:
    """Images as they are decoded, uint8 [b, h, w, 3].

    Args:
      images: an array, on the host or on a device, or one that is traced.

    Raises:
      AssertionError: they are not.
    """
    chex.assert_shape(images, (None, None, None, 3))
    chex.assert_type(images, np.uint8)


def check_views(views: Any) -> None:
    """Images as a network sees them, float [b, h, w, c].

    Raises:
      AssertionError: they are not.
    """
    chex.assert_rank(views, 4)
    chex.assert_type(views, float)


def check_keys(keys: Any, images: Any) -> None:
    """Random keys [b], one for each row of images [b, ...].

    Raises:
      AssertionError: they are not.
    """
    chex.assert_shape(keys, (len(images),))


def check_picture(image: Any) -> None:
    """One image, uint8 [h, w, 3].

    Raises:
      AssertionError: it is not.
    """
    chex.assert_shape(image, (None, None, 3))
    chex.assert_type(image, np.uint8)


def check_targets(images: Any, targets: Any) -> None:
    """Float images [b, h, w, c] and float targets [b, classes], a row for each.

    Raises:
      AssertionError: they are not.
    """
    check_views(images)
    chex.assert_rank(targets, 2)
    chex.assert_type(targets, float)
    chex.assert_equal_shape_prefix([images, targets], 1)

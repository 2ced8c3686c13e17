"""A rectangle of random area and aspect ratio: what random resized crops and erasing share."""

from typing import NamedTuple

import chex
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from dreamda_jax.types import AnyArray

_ATTEMPTS = 10  # as in torchvision
NUM_UNIFORMS = 2 * _ATTEMPTS + 2
"""Random numbers of one box, drawn in one call: XLA takes a second to compile each call."""


class Box(NamedTuple):
    """A rectangle of pixels, int32 []; arrays of boxes have leading axes."""

    top: Int[AnyArray, "*b"]
    left: Int[AnyArray, "*b"]
    height: Int[AnyArray, "*b"]
    width: Int[AnyArray, "*b"]


def random_box(
    uniforms: Float[Array, "22"],
    shape: tuple[int, int],
    *,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    largest: tuple[int, int],
    fallback: tuple[int, int],
) -> Box:
    """Draws a box as torchvision's `RandomResizedCrop` and `RandomErasing` do.

    Area uniform, logarithm of the aspect ratio uniform, sides rounded, the place uniform among
    those inside the image. The first of ten such sizes that fits is taken.

    Args:
      uniforms: `NUM_UNIFORMS` independent draws from [0, 1).
      shape: (height, width) of the image.
      scale: bounds of the area as a share of the image's.
      ratio: bounds of width / height.
      largest: (height, width) a box may have at most; it has at least one pixel.
      fallback: (height, width) of the box if none of the ten fits; it is put in the middle.

    Returns:
      A box inside the image.
    """
    chex.assert_shape(uniforms, (NUM_UNIFORMS,))
    chex.assert_type(uniforms, float)
    height, width = shape
    areas, ratios = uniforms[:_ATTEMPTS], uniforms[_ATTEMPTS:-2]
    areas = height * width * (scale[0] + (scale[1] - scale[0]) * areas)
    ratios = ratio[0] * (ratio[1] / ratio[0]) ** ratios
    heights = jnp.round(jnp.sqrt(areas / ratios)).astype(jnp.int32)
    widths = jnp.round(jnp.sqrt(areas * ratios)).astype(jnp.int32)
    fits = (heights > 0) & (heights <= largest[0]) & (widths > 0) & (widths <= largest[1])
    first = jnp.argmax(fits)
    box_height, box_width = heights[first], widths[first]
    drawn = Box(
        (uniforms[-2] * (height - box_height + 1)).astype(jnp.int32),
        (uniforms[-1] * (width - box_width + 1)).astype(jnp.int32),
        box_height,
        box_width,
    )
    middle = ((height - fallback[0]) // 2, (width - fallback[1]) // 2, *fallback)
    sides = zip(drawn, middle, strict=True)
    return Box(*(jnp.where(fits[first], side, other) for side, other in sides))


def inside(box: Box, height: int, width: int) -> Bool[Array, "h w"]:
    """Which pixels lie in the box: bool [h, w]."""
    rows, columns = jnp.arange(height)[:, None], jnp.arange(width)
    in_rows = jnp.logical_and(rows >= box.top, rows < box.top + box.height)
    in_columns = jnp.logical_and(columns >= box.left, columns < box.left + box.width)
    return jnp.logical_and(in_rows, in_columns)

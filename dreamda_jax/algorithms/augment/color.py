"""Changes of colour: by a table per channel, or by blending with another image.

A table is int32 [256, 3], the new level of each old one. Amounts are torchvision's; those of
brightness, contrast, saturation and sharpness are added to 1, so that 0 changes nothing.
"""

import chex
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from dreamda_jax.algorithms.augment.checks import check_picture
from dreamda_jax.types import AnyArray

Picture = UInt8[AnyArray, "h w 3"]
Table = Int[AnyArray, "256 3"]
Amount = Float[AnyArray, ""]

_LEVELS = np.arange(256, dtype=np.int32)[:, None].repeat(3, axis=1)
_PLACES = 16  # binary places of a blend's weights
# The most that rounding a weight can take from a pixel (half a unit of 255): without it a blend
# that should be exactly 127, such as 1.27 · 100, could be cut to 126.
_SLACK = 128


def identity(image: Picture, amount: Amount) -> Table:
    """Keeps every level."""
    return _LEVELS


def brightness(image: Picture, amount: Amount) -> Table:
    """Moves levels away from black, or towards it for a negative amount."""
    return _blend(_LEVELS, 0, amount)


def contrast(image: Picture, amount: Amount) -> Table:
    """Moves levels away from the mean of the grey image, or towards it."""
    check_picture(image)
    mean = jnp.sum(_luminance(image)) / (image.shape[0] * image.shape[1])
    return _blend(_LEVELS, mean, amount)


def posterize(image: Picture, amount: Amount) -> Table:
    """Keeps the highest `amount` bits, 1..8."""
    dropped = 8 - jnp.asarray(amount).astype(jnp.int32)
    return (_LEVELS >> dropped) << dropped


def solarize(image: Picture, amount: Amount) -> Table:
    """Inverts the levels from `amount` on, 0..255."""
    return jnp.where(jnp.less_equal(amount, _LEVELS), 255 - _LEVELS, _LEVELS)


def autocontrast(image: Picture, amount: Amount) -> Table:
    """Stretches each channel to 0..255; a channel of one level stays."""
    check_picture(image)
    pixels = jnp.asarray(image, jnp.int32)
    low, high = jnp.min(pixels, axis=(0, 1)), jnp.max(pixels, axis=(0, 1))
    stretched = (_LEVELS - low) * 255 // jnp.maximum(high - low, 1)
    return jnp.where(high > low, jnp.clip(stretched, 0, 255), _LEVELS)


def equalize(image: Picture, amount: Amount) -> Table:
    """Flattens each channel's histogram, in Pillow's whole numbers."""
    check_picture(image)
    pixels = jnp.asarray(image, jnp.int32)
    entries = (3 * pixels + jnp.arange(3)).reshape(-1)  # one index scatters faster than two
    counts = jnp.zeros(256 * 3, jnp.int32).at[entries].add(1).reshape(256, 3)
    up_to = jnp.cumsum(counts, axis=0)
    highest = jnp.max(pixels, axis=(0, 1))
    step = (up_to[-1] - counts[highest, jnp.arange(3)]) // 255
    below = up_to - counts
    flat = jnp.minimum((below + step // 2) // jnp.maximum(step, 1), 255)
    return jnp.where(step > 0, flat, _LEVELS)


def look_up(image: Picture, table: Table) -> UInt8[Array, "h w 3"]:
    """Replaces each level by the table's entry for it."""
    check_picture(image)
    chex.assert_shape(table, (256, 3))
    return table.astype(jnp.uint8)[jnp.asarray(image, jnp.int32), jnp.arange(3)]


def gray(image: Picture) -> Int[Array, "h w 1"]:
    """The image without colour: blending with it changes the saturation."""
    check_picture(image)
    return _luminance(image)[..., None]


def blurred(image: Picture) -> Int[Array, "h w 3"]:
    """Pillow's SMOOTH filter: 5 in the centre, 1 on the eight neighbours; the border stays."""
    check_picture(image)
    pixels = jnp.asarray(image, jnp.int32)
    rows = pixels[:-2] + pixels[1:-1] + pixels[2:]
    square = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    return pixels.at[1:-1, 1:-1].set((square + 4 * pixels[1:-1, 1:-1] + 6) // 13)


def blend(image: Picture, other: Int[Array, "h w c"], amount: Amount) -> UInt8[Array, "h w 3"]:
    """Moves the image away from `other` by `amount` of their difference, or towards it."""
    check_picture(image)
    chex.assert_shape(other, (*image.shape[:2], {1, 3}))
    return _blend(jnp.asarray(image, jnp.int32), other, amount).astype(jnp.uint8)


def _luminance(image: Picture) -> Int[Array, "h w"]:
    # torchvision's weights: they add up to 0.9999.
    red, green, blue = jnp.moveaxis(jnp.asarray(image, jnp.int32), -1, 0)
    return (2989 * red + 5870 * green + 1140 * blue) // 10000


def _blend(levels: AnyArray, other: AnyArray | int, amount: Amount) -> Int[Array, "..."]:
    # (1 + amount) · levels - amount · other in fixed point, the fraction cut off as in torchvision.
    one = 1 << _PLACES
    extra = jnp.round(jnp.asarray(amount) * one).astype(jnp.int32)
    offset = jnp.round(extra * jnp.asarray(other, jnp.float32)).astype(jnp.int32)
    return jnp.clip((levels * (one + extra) - offset + _SLACK) >> _PLACES, 0, 255)

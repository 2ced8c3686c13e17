"""Affine warps: shear, translation and rotation, nearest neighbour, black outside.

A matrix [2, 3] takes (x, y, 1) of an output pixel to the input point it shows. Both are in pixels
from the image's centre, x to the right and y down. Amounts and signs are torchvision's.
"""

import chex
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, UInt8

from dreamda_jax.algorithms.augment.checks import check_picture
from dreamda_jax.types import AnyArray

Matrix = Float[Array, "2 3"]
Amount = Float[AnyArray, ""]


def identity(height: int, width: int, amount: Amount) -> Matrix:
    """Every pixel shows itself."""
    return _matrix()


def shear_x(height: int, width: int, amount: Amount) -> Matrix:
    """Row y moves left by `amount` · y, y counted from the top edge."""
    return _matrix(xy=amount, x=amount * height / 2)


def shear_y(height: int, width: int, amount: Amount) -> Matrix:
    """Column x moves up by `amount` · x, x counted from the left edge."""
    return _matrix(yx=amount, y=amount * width / 2)


def translate_x(height: int, width: int, amount: Amount) -> Matrix:
    """Moves right by `amount` pixels, the fraction cut off."""
    return _matrix(x=-jnp.trunc(amount))


def translate_y(height: int, width: int, amount: Amount) -> Matrix:
    """Moves down by `amount` pixels, the fraction cut off."""
    return _matrix(y=-jnp.trunc(amount))


def rotate(height: int, width: int, amount: Amount) -> Matrix:
    """Turns counterclockwise by `amount` degrees about the centre."""
    cosine, sine = jnp.cos(jnp.deg2rad(amount)), jnp.sin(jnp.deg2rad(amount))
    return _matrix(xx=cosine, xy=-sine, yx=sine, yy=cosine)


def _matrix(
    xx: Amount | float = 1.0,
    xy: Amount | float = 0.0,
    x: Amount | float = 0.0,
    yx: Amount | float = 0.0,
    yy: Amount | float = 1.0,
    y: Amount | float = 0.0,
) -> Matrix:
    return jnp.array([[xx, xy, x], [yx, yy, y]], jnp.float32)


def warp(image: UInt8[AnyArray, "h w 3"], matrix: Matrix) -> UInt8[Array, "h w 3"]:
    """Shows at each pixel the nearest one to `matrix` · (x, y, 1), or black outside the image.

    Args:
      image: uint8 [h, w, 3].
      matrix: float32 [2, 3]; must take no point farther than three times the longer side away.
    """
    check_picture(image)
    chex.assert_shape(matrix, (2, 3))
    chex.assert_type(matrix, float)
    height, width, _ = image.shape
    # In float32 it would be for the compiler to say which of two pixels at the same distance is
    # nearest. Coordinates are counted in half pixels, which makes those of the centre whole, with
    # as many binary places as leave room for the farthest point.
    places = 28 - max(height, width).bit_length()
    fixed = jnp.round(matrix * (1 << places)).astype(jnp.int32)
    x = 2 * jnp.arange(width) - (width - 1)
    y = 2 * jnp.arange(height)[:, None] - (height - 1)

    def nearest(row: Int[Array, "3"], size: int) -> Int[Array, "h w"]:
        halves = row[0] * x + row[1] * y + 2 * row[2] + ((size - 1) << places)
        return (halves + (1 << places)) >> (places + 1)

    columns, rows = nearest(fixed[0], width), nearest(fixed[1], height)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    index = jnp.where(inside, rows * width + columns, 0)
    pixels = jnp.asarray(image).reshape(height * width, 3)[index]
    return jnp.where(inside[..., None], pixels, jnp.uint8(0))

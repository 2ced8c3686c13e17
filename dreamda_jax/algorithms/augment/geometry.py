"""Flips and crops. Layout and value range: see the package."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, UInt8

from dreamda_jax.algorithms.augment.boxes import NUM_UNIFORMS, Box, random_box
from dreamda_jax.algorithms.augment.checks import check_images, check_keys, check_picture
from dreamda_jax.types import AnyArray, Image

_FRACTION = 1 << 16


def random_flip(keys: Key[Array, "b"], images: Image) -> UInt8[Array, "b h w 3"]:
    """Mirrors each image left to right with probability 1/2."""
    check_keys(keys, images)
    check_images(images)
    flipped = jax.vmap(jax.random.bernoulli)(keys)
    return jnp.where(flipped[:, None, None, None], images[:, :, ::-1], images)


def center_crop(images: Image, size: int) -> UInt8[Array, "b size size 3"]:
    """Cuts the central square; the offset is round((side - size) / 2), as in torchvision.

    Raises:
      ValueError: the images are smaller than `size`.
    """
    check_images(images)
    height, width = images.shape[1:3]
    if min(height, width) < size:
        raise ValueError(f"images of {height}x{width} pixels cannot be cropped to {size}x{size}")
    top, left = round((height - size) / 2), round((width - size) / 2)
    return jnp.asarray(images[:, top : top + size, left : left + size])


def random_shifted_crop(
    keys: Key[Array, "b"], images: Image, *, padding: int
) -> UInt8[Array, "b h w 3"]:
    """Pads with `padding` black pixels on every side and crops back at a random place.

    The usual crop of CIFAR: torchvision's `RandomCrop(size, padding)`.
    """
    check_keys(keys, images)
    check_images(images)
    margin = ((padding, padding), (padding, padding), (0, 0))

    def crop(key: Array, image: Array) -> Array:
        top, left = jax.random.randint(key, (2,), 0, 2 * padding + 1)
        return jax.lax.dynamic_slice(jnp.pad(image, margin), (top, left, 0), image.shape)

    return jax.vmap(crop)(keys, jnp.asarray(images))


def random_resized_crop(
    keys: Key[Array, "b"],
    images: Image,
    *,
    size: int,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> UInt8[Array, "b size size 3"]:
    """A box of random area and aspect ratio, resized to a square (Szegedy et al. 2015).

    Args:
      keys: one per row.
      images: uint8 [b, h, w, 3].
      size: side of the result in pixels.
      scale: bounds of the box's area as a share of the image's.
      ratio: bounds of its width / height.

    Returns:
      uint8 [b, size, size, 3].
    """
    check_keys(keys, images)
    check_images(images)

    def crop(key: Array, image: Array) -> Array:
        box = crop_box(key, *image.shape[:2], scale=scale, ratio=ratio)
        return resize_box(image, box, size=size)

    return jax.vmap(crop)(keys, jnp.asarray(images))


def crop_box(
    key: Key[Array, ""],
    height: int,
    width: int,
    *,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> Box:
    """The box of one random resized crop, drawn as by torchvision's `RandomResizedCrop`."""
    return random_box(
        jax.random.uniform(key, (NUM_UNIFORMS,)),
        (height, width),
        scale=scale,
        ratio=ratio,
        largest=(height, width),
        # As much of the image as the bounds of the aspect ratio allow.
        fallback=(min(height, round(width / ratio[0])), min(width, round(height * ratio[1]))),
    )


def resize_box(
    image: UInt8[AnyArray, "h w 3"], box: Box, *, size: int
) -> UInt8[Array, "size size 3"]:
    """Resizes one box of an image to a square: Pillow's antialiased bilinear filter.

    As in Pillow and torchvision pixels outside the box have no part in the result
    (`jax.image.scale_and_translate` would blend them in), columns come before rows, and each pass
    rounds to whole levels.

    Args:
      image: uint8 [h, w, 3].
      box: int32 scalars; must lie in the image.
      size: side of the result in pixels.
    """
    check_picture(image)
    height, width = image.shape[:2]
    across = _triangle_weights(box.left, box.width, width, size)
    down = _triangle_weights(box.top, box.height, height, size)
    # Weights have 16 bits and levels 8, so float32 holds every partial sum: the result is exact in
    # any order of summation, provided that no device shortens the factors (`precision`).
    exact = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
    levels = jnp.asarray(image, jnp.float32)
    levels = jnp.floor(exact("oj,ijc->ioc", across, levels) + 0.5)
    levels = jnp.floor(exact("oi,ijc->ojc", down, levels) + 0.5)
    return levels.astype(jnp.uint8)


def _triangle_weights(
    start: AnyArray, length: AnyArray, in_size: int, out_size: int
) -> Float[Array, "out in"]:
    # In units of 1 / (2 out_size) of an input pixel all distances are whole numbers.
    inputs = jnp.arange(in_size) - start
    outputs = jnp.arange(out_size)[:, None]
    distances = jnp.abs((2 * inputs + 1) * out_size - (2 * outputs + 1) * length)
    weights = jnp.maximum(2 * jnp.maximum(length, out_size) - distances, 0)
    weights = jnp.where((inputs >= 0) & (inputs < length), weights, 0)
    shares = weights / jnp.sum(weights, axis=1, keepdims=True)
    return jnp.round(shares * _FRACTION) / _FRACTION

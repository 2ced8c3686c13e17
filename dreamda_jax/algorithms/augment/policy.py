"""The views of a batch that a classifier sees."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt8

from dreamda_jax.algorithms.augment import mixing
from dreamda_jax.algorithms.augment.checks import check_keys, check_targets
from dreamda_jax.algorithms.augment.erasing import random_erasing
from dreamda_jax.algorithms.augment.geometry import (
    center_crop,
    random_flip,
    random_resized_crop,
    random_shifted_crop,
)
from dreamda_jax.algorithms.augment.options import Augment
from dreamda_jax.algorithms.augment.rand_augment import rand_augment
from dreamda_jax.types import AnyArray, Image

Color = tuple[float, float, float]
View = Float[Array, "b size size 3"]

_SHIFT = 8  # a shifted crop moves by up to 1/8 of the side: 4 pixels of CIFAR's 32


def row_keys(key: Key[Array, ""], count: int) -> Key[Array, "count"]:
    """The keys of a batch's rows: fold_in(key, row), row being that of the global batch."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(count))


def train_view(
    augment: Augment,
    key: Key[Array, ""],
    images: Image,
    targets: Float[AnyArray, "b c"],
    *,
    size: int,
    mean: Color,
    std: Color,
) -> tuple[View, Float[Array, "b c"]]:
    """The strong view of each image, then CutMix or mixup of the batch.

    Args:
      augment: what to do.
      key: one for the global batch; the same key gives the same batch on any number of devices.
      images: uint8 [b, canvas, canvas, 3].
      targets: float [b, classes], rows that sum to 1.
      size: side of the result in pixels.
      mean: of the training set, per channel, on a scale of 0 to 1.
      std: its standard deviation, likewise.

    Returns:
      Normalised float32 [b, size, size, 3], and float32 targets [b, classes].

    Raises:
      ValueError: the canvas is not square, not uint8, or smaller than a crop that does not resize.
    """
    chex.assert_rank(targets, 2)
    chex.assert_equal_shape_prefix([images, targets], 1)
    count = images.shape[0]
    views = strong_view(augment, row_keys(key, count), images, size=size, mean=mean, std=std)
    mix_key = jax.random.fold_in(key, count)  # a row that the batch does not have
    return mix(augment, mix_key, views, targets)


def mix(
    augment: Augment, key: Key[Array, ""], views: View, targets: Float[AnyArray, "b c"]
) -> tuple[View, Float[Array, "b c"]]:
    """CutMix, mixup, either or neither, of a batch's views. Arguments as of `train_view`."""
    check_targets(views, targets)
    targets = jnp.asarray(targets, jnp.float32)
    if augment.cutmix and augment.mixup:
        return mixing.cutmix_or_mixup(
            key, views, targets, cutmix_alpha=augment.cutmix, mixup_alpha=augment.mixup
        )
    if augment.cutmix:
        return mixing.cutmix(key, views, targets, alpha=augment.cutmix)
    if augment.mixup:
        return mixing.mixup(key, views, targets, alpha=augment.mixup)
    return views, targets


def strong_view(
    augment: Augment,
    keys: Key[Array, "b"],
    images: Image,
    *,
    size: int,
    mean: Color,
    std: Color,
) -> View:
    """Crop, flip, RandAugment, normalisation and erasing; nothing that mixes rows.

    Arguments and errors as of `train_view`, with one key per row. The same keys give `weak_view`
    the same crops and flips.
    """
    check_keys(keys, images)
    crop_keys, flip_keys, op_keys, erasing_keys = _split(keys)
    pixels = _crop_and_flip(augment, crop_keys, flip_keys, images, size)
    if augment.rand_augment:
        pixels = rand_augment(
            op_keys,
            pixels,
            num_ops=augment.rand_augment_ops,
            magnitude=augment.rand_augment_magnitude,
            random_magnitude=augment.rand_augment_random_magnitude,
        )
    views = normalize(pixels, mean, std)
    if augment.random_erasing:
        views = random_erasing(erasing_keys, views, probability=augment.random_erasing)
    return views


def weak_view(
    augment: Augment,
    keys: Key[Array, "b"],
    images: Image,
    *,
    size: int,
    mean: Color,
    std: Color,
) -> View:
    """Crop, flip and normalisation only. Arguments and errors as of `strong_view`."""
    check_keys(keys, images)
    crop_keys, flip_keys, _, _ = _split(keys)
    return normalize(_crop_and_flip(augment, crop_keys, flip_keys, images, size), mean, std)


def eval_view(images: Image, *, size: int, mean: Color, std: Color) -> View:
    """The central crop, normalised; nothing random. Arguments and errors as of `train_view`."""
    _check_canvas(images)
    return normalize(center_crop(images, size), mean, std)


def normalize(images: Image, mean: Color, std: Color) -> View:
    """(x / 255 − mean) / std, float32."""
    # With the constants taken together on the host nothing is left to a compiler's rounding.
    center = np.float32(255 * np.array(mean, np.float64))
    scale = np.float32(1 / (255 * np.array(std, np.float64)))
    return (jnp.asarray(images, jnp.float32) - center) * scale


def _crop_and_flip(
    augment: Augment, crop_keys: Array, flip_keys: Array, images: Image, size: int
) -> UInt8[Array, "b size size 3"]:
    _check_canvas(images)
    if augment.crop == "resized":
        scale = (augment.crop_scale_min, 1.0)
        pixels = random_resized_crop(crop_keys, images, size=size, scale=scale)
    else:
        pixels = center_crop(images, size)
    if augment.crop == "shifted":
        pixels = random_shifted_crop(crop_keys, pixels, padding=size // _SHIFT)
    return random_flip(flip_keys, pixels) if augment.flip else pixels


def _split(keys: Key[Array, "b"]) -> Key[Array, "4 b"]:
    """For the crop, the flip, RandAugment and erasing."""
    return jax.vmap(lambda key: jax.random.split(key, 4), out_axes=1)(keys)


def _check_canvas(images: Image) -> None:
    if images.ndim != 4 or images.shape[1] != images.shape[2] or images.dtype != np.uint8:
        raise ValueError(
            f"images must be uint8 [b, canvas, canvas, 3], got {images.dtype} {list(images.shape)}"
        )

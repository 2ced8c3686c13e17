"""RandAugment (Cubuk et al. 2019) with torchvision's operations, magnitudes and signs."""

import functools
from collections.abc import Callable, Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt8

from dreamda_jax.algorithms.augment import color, warp
from dreamda_jax.algorithms.augment.checks import check_images, check_keys
from dreamda_jax.algorithms.augment.options import MAGNITUDES
from dreamda_jax.types import AnyArray, Image

"""Strengths are numbered 0..30."""

_WARPS = {
    "ShearX": warp.shear_x,
    "ShearY": warp.shear_y,
    "TranslateX": warp.translate_x,
    "TranslateY": warp.translate_y,
    "Rotate": warp.rotate,
}
_TABLES = {
    "Brightness": color.brightness,
    "Contrast": color.contrast,
    "Posterize": color.posterize,
    "Solarize": color.solarize,
    "AutoContrast": color.autocontrast,
    "Equalize": color.equalize,
}
_BLENDS = {"Color": color.gray, "Sharpness": color.blurred}
_SIGNED = (*_WARPS, "Brightness", "Color", "Contrast", "Sharpness")

Operation = Callable[[UInt8[AnyArray, "h w 3"], Float[AnyArray, ""]], UInt8[Array, "h w 3"]]


def _warped(name: str, image: Array, amount: Array) -> Array:
    height, width, _ = image.shape
    return warp.warp(image, _WARPS[name](height, width, amount))


def _looked_up(name: str, image: Array, amount: Array) -> Array:
    return color.look_up(image, _TABLES[name](image, amount))


def _blended(name: str, image: Array, amount: Array) -> Array:
    return color.blend(image, _BLENDS[name](image), amount)


OPERATIONS: dict[str, Operation] = {
    "Identity": lambda image, amount: jnp.asarray(image),
    **{name: functools.partial(_warped, name) for name in _WARPS},
    **{name: functools.partial(_looked_up, name) for name in _TABLES},
    **{name: functools.partial(_blended, name) for name in _BLENDS},
}
"""`op(image, amount)`, uint8 [h, w, 3] -> uint8 [h, w, 3]; amounts as in `amounts`, either sign."""

NAMES = tuple(OPERATIONS)
"""What the numbers of `draw_operations` stand for."""


def amounts(height: int, width: int) -> Float[np.ndarray, "14 31"]:
    """The amount of every operation at every magnitude, without its sign: float32 [14, 31].

    Shear is a slope, translation pixels, rotation degrees; posterize counts bits, solarize is a
    level; 0 where there is nothing to choose.
    """
    rising = np.arange(MAGNITUDES) / (MAGNITUDES - 1)
    table = {
        "ShearX": 0.3 * rising,
        "ShearY": 0.3 * rising,
        "TranslateX": 150 / 331 * width * rising,
        "TranslateY": 150 / 331 * height * rising,
        "Rotate": 30 * rising,
        **dict.fromkeys(("Brightness", "Color", "Contrast", "Sharpness"), 0.9 * rising),
        "Posterize": 8 - np.round(4 * rising),
        "Solarize": 255 * (1 - rising),
    }
    return np.stack([table.get(name, 0 * rising) for name in NAMES]).astype(np.float32)


def rand_augment(
    keys: Key[Array, "b"],
    images: Image,
    *,
    num_ops: int = 2,
    magnitude: int = 9,
    random_magnitude: bool = False,
) -> UInt8[Array, "b h w 3"]:
    """Applies `num_ops` operations to each image, drawn with replacement.

    Args:
      keys: one per row.
      images: uint8 [b, h, w, 3].
      num_ops: operations per image.
      magnitude: strength, 0..30.
      random_magnitude: draw each operation's strength from 0..`magnitude` with equal chance, as
        FixMatch's strong view and TrivialAugment do.

    Returns:
      uint8 [b, h, w, 3].
    """
    check_keys(keys, images)
    check_images(images)
    table = amounts(*images.shape[1:3])

    def augment(key: Array, image: Array) -> Array:
        drawn = draw_operations(
            key, table, num_ops=num_ops, magnitude=magnitude, random_magnitude=random_magnitude
        )
        return jax.lax.scan(lambda image, drawn: (_apply(image, *drawn), None), image, drawn)[0]

    return jax.vmap(augment)(keys, jnp.asarray(images))


def draw_operations(
    key: Key[Array, ""],
    table: Float[AnyArray, "14 31"],
    *,
    num_ops: int,
    magnitude: int,
    random_magnitude: bool,
) -> tuple[Int[Array, "n"], Float[Array, "n"]]:
    """Which operations one image gets, as indices into `NAMES`, and their amounts with signs."""
    chex.assert_shape(table, (len(NAMES), MAGNITUDES))
    places, shares, signs = jax.random.uniform(key, (3, num_ops))
    ops = (places * len(NAMES)).astype(jnp.int32)
    magnitudes = (shares * (magnitude + 1)).astype(jnp.int32) if random_magnitude else magnitude
    chosen = jnp.asarray(table)[ops, magnitudes]
    negative = jnp.array([name in _SIGNED for name in NAMES])[ops] & (signs < 0.5)
    return ops, jnp.where(negative, -chosen, chosen)


def _apply(image: Array, op: Int[Array, ""], amount: Float[Array, ""]) -> Array:
    # `lax.switch` under `vmap` would run all 14 operations on every row. This runs three, one of
    # each kind, and gives two of them arguments that change nothing. In this order XLA can fuse
    # them without computing a pixel twice.
    tables = [color.identity(image, amount), *(make(image, amount) for make in _TABLES.values())]
    table = _pick(tables, _place(_TABLES, op))
    height, width, _ = image.shape
    matrices = [make(height, width, amount) for make in (warp.identity, *_WARPS.values())]
    matrix = _pick(matrices, _place(_WARPS, op))
    place = _place(_BLENDS, op)
    first, second = (make(image) for make in _BLENDS.values())
    other = jnp.where(place == 1, first, second)
    image = color.blend(image, other, jnp.where(place == 0, 0.0, amount))
    return warp.warp(color.look_up(image, table), matrix)


def _pick(arrays: Sequence[AnyArray], place: Int[Array, ""]) -> Array:
    # As a product: an index would be fused into the look-up, and on a CPU the table's divisions
    # repeated for every pixel.
    chosen = jax.nn.one_hot(place, len(arrays))
    stacked = jnp.stack(arrays).astype(jnp.float32)
    return jnp.einsum("n,nij->ij", chosen, stacked, precision=jax.lax.Precision.HIGHEST)


def _place(kind: dict[str, Callable], op: Int[Array, ""]) -> Int[Array, ""]:
    """Position of the operation among those of a kind, counted from 1; 0 if it is of another."""
    names = list(kind)
    places = [names.index(name) + 1 if name in kind else 0 for name in NAMES]
    return jnp.array(places)[op]

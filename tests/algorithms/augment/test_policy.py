"""Views: their order, their normalisation, and that nothing depends on the device or the batch."""

import ast
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dreamda_jax.algorithms import augment as package
from dreamda_jax.algorithms.augment.geometry import random_flip, random_resized_crop
from dreamda_jax.algorithms.augment.policy import (
    Augment,
    eval_view,
    normalize,
    row_keys,
    strong_view,
    train_view,
    weak_view,
)
from tests.support.paths import REFERENCE

ARRAYS = np.load(REFERENCE / "augment.npz")
CANVAS = ARRAYS["canvas"]
IMAGES = np.stack([np.roll(CANVAS, shift, axis=(0, 1)) for shift in range(0, 64, 8)])  # [8, 64, …]
TARGETS = np.eye(8, dtype=np.float32)
COLORS: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
VIEW: dict[str, Any] = {"size": 32, **COLORS}
EVERYTHING = Augment(rand_augment=True, random_erasing=0.5, cutmix=1.0, mixup=0.2)
ERASING = Augment(crop_scale_min=0.5, random_erasing=1.0)
KEY, OTHER_KEY = jax.random.key(7), jax.random.key(8)


@functools.partial(jax.jit, static_argnums=0)
def train(augment, key, images, targets):
    return train_view(augment, key, images, targets, **VIEW)


@functools.partial(jax.jit, static_argnums=0)
def strong(augment, keys, images):
    return strong_view(augment, keys, images, **VIEW)


@functools.partial(jax.jit, static_argnums=0)
def weak(augment, keys, images):
    return weak_view(augment, keys, images, **VIEW)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("crop", "random"),
        ("crop_scale_min", 0.0),
        ("crop_scale_min", 1.5),
        ("rand_augment_ops", 0),
        ("rand_augment_magnitude", 31),
        ("rand_augment_magnitude", -1),
        ("random_erasing", 1.1),
        ("cutmix", -0.5),
        ("mixup", float("inf")),
        ("mixup", float("nan")),
    ],
)
def test_bad_values_are_named(field, value):
    with pytest.raises(ValueError, match=f"^{field} must be .*, got {value!r}$"):
        Augment(**{field: value})


def test_eval_view_equals_torchvision():
    got = eval_view(CANVAS[None], size=33, **COLORS)[0]  # an odd margin: 31 pixels
    assert got.dtype == jnp.float32
    # Values up to 2.7, three roundings of float32 in torch and two here.
    np.testing.assert_allclose(got, ARRAYS["central_33"], atol=1e-6)


def test_wrong_images_are_refused():
    with pytest.raises(ValueError, match="cannot be cropped to 65x65"):
        eval_view(IMAGES, size=65, **COLORS)
    with pytest.raises(ValueError, match=r"uint8 \[b, canvas, canvas, 3\], got float32"):
        eval_view(IMAGES.astype(np.float32), **VIEW)
    with pytest.raises(ValueError, match=r"got uint8 \[8, 64, 60, 3\]"):
        weak_view(Augment(), row_keys(KEY, 8), IMAGES[:, :, :60], **VIEW)


def test_nothing_on_is_the_eval_view():
    plain = Augment(crop="none", flip=False)
    views, targets = train(plain, KEY, IMAGES, TARGETS)
    np.testing.assert_array_equal(views, eval_view(IMAGES, **VIEW))
    np.testing.assert_array_equal(targets, TARGETS)


def test_weak_view_is_crop_flip_and_normalisation():
    keys = row_keys(KEY, 8)

    @jax.jit
    def by_hand(keys, images):
        crop_keys, flip_keys, *_ = jax.vmap(lambda key: jax.random.split(key, 4), out_axes=1)(keys)
        crops = random_resized_crop(crop_keys, images, size=32, scale=(0.5, 1.0))
        return normalize(random_flip(flip_keys, crops), **COLORS)

    np.testing.assert_array_equal(weak(ERASING, keys, IMAGES), by_hand(keys, IMAGES))


def test_strong_view_erases_from_the_weak_one():
    keys = row_keys(KEY, 8)
    erased = np.asarray(strong(ERASING, keys, IMAGES))
    plain = np.asarray(weak(ERASING, keys, IMAGES))
    assert ((erased == plain) | (erased == 0)).all()
    assert ((erased != plain).any(-1).mean((1, 2)) > 0.01).all()


def test_shifted_crop_moves_the_center_by_an_eighth_at_most():
    keys = row_keys(KEY, 8)
    shifted = np.asarray(weak(Augment(crop="shifted", flip=False), keys, IMAGES))
    black = np.asarray(normalize(np.zeros((1, 1, 1, 3), np.uint8), **COLORS))[0, 0, 0]
    center = np.asarray(eval_view(IMAGES, **VIEW))
    padded = np.stack([np.pad(x, ((4, 4), (4, 4), (0, 0))) for x in center - black]) + black
    for view, image in zip(shifted, padded, strict=True):
        places = [(top, left) for top in range(9) for left in range(9)]
        # Subtracting and adding black costs a rounding.
        assert any(
            np.allclose(view, image[top : top + 32, left : left + 32], atol=1e-6)
            for top, left in places
        )


def test_same_key_gives_the_same_batch():
    first, second, other = (
        train(EVERYTHING, key, IMAGES, TARGETS) for key in (KEY, KEY, OTHER_KEY)
    )
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])
    assert (np.asarray(first[0]) != np.asarray(other[0])).mean() > 0.5
    np.testing.assert_allclose(np.sum(first[1], 1), 1, atol=1e-6)
    assert np.max(first[1], 1).min() < 1  # it was mixed


def test_a_row_does_not_depend_on_its_batch():
    keys = row_keys(KEY, 8)
    together = strong(EVERYTHING, keys, IMAGES)
    for row in (0, 5):
        alone = strong(EVERYTHING, keys[row : row + 1], IMAGES[row : row + 1])
        np.testing.assert_array_equal(alone[0], together[row])


def sharded(array):
    mesh = Mesh(np.array(jax.devices()), ("data",))
    return jax.device_put(array, NamedSharding(mesh, PartitionSpec("data")))


def test_two_devices_make_the_same_batch_as_one():
    assert jax.device_count() == 2
    expected = train(EVERYTHING, KEY, IMAGES, TARGETS)
    got = train(EVERYTHING, KEY, sharded(IMAGES), sharded(TARGETS))
    for ours, reference in zip(got, expected, strict=True):
        np.testing.assert_array_equal(ours, reference)


def test_views_of_rows_need_no_other_device():
    keys = sharded(row_keys(KEY, 8))
    program = strong.lower(EVERYTHING, keys, sharded(IMAGES)).compile()
    assert program.output_shardings.spec[0] == "data"
    text = program.as_text() or ""
    assert "gather" in text
    for collective in ("all-gather", "all-reduce", "all-to-all", "collective-permute"):
        assert collective not in text


def test_the_package_imports_nothing_else_of_data():
    for path in Path(package.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            module = (isinstance(node, ast.ImportFrom) and node.module) or ""
            allowed = ("dreamda_jax.algorithms.augment", "dreamda_jax.types")
            assert module.startswith(allowed) or not module.startswith("dreamda_jax"), path.name

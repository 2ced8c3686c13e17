"""Crops, flips and erasing: pixels against Pillow and torchvision, draws against torchvision's."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamda_jax.algorithms.augment.boxes import Box
from dreamda_jax.algorithms.augment.erasing import random_erasing
from dreamda_jax.algorithms.augment.geometry import (
    center_crop,
    crop_box,
    random_flip,
    random_resized_crop,
    random_shifted_crop,
    resize_box,
)
from tests.support.paths import REFERENCE

ARRAYS = np.load(REFERENCE / "augment.npz")
CANVAS = ARRAYS["canvas"]  # 64 x 64
SHAPE = (32, 48)  # of the images whose boxes torchvision drew
COUNT = 8000


def split(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def assert_same_distribution(ours, expected):
    """Kolmogorov and Smirnov's test of two samples of boxes [n, 4], at a chance of 0.001 each."""
    limit = 1.95 * np.sqrt(1 / len(ours) + 1 / len(expected))
    derived = [
        [*rows.T.astype(float), rows[:, 2] * rows[:, 3], rows[:, 2] / np.maximum(rows[:, 3], 1)]
        for rows in (np.asarray(ours, int), np.asarray(expected, int))
    ]
    names = ("top", "left", "height", "width", "area", "ratio")
    for name, left, right in zip(names, *derived, strict=True):
        values = np.union1d(left, right)
        shares = [
            np.searchsorted(np.sort(side), values, "right") / len(side) for side in (left, right)
        ]
        assert np.abs(shares[0] - shares[1]).max() < limit, name


resize = jax.jit(resize_box, static_argnames="size")


@pytest.fixture(scope="module")
def resized():
    boxes = [Box(*box) for box in ARRAYS["boxes"]]
    return [np.asarray(resize(CANVAS, box, size=32)).astype(int) for box in boxes]


def test_resized_boxes_equal_pillow(resized):
    for got, expected in zip(resized, ARRAYS["resized_pillow"], strict=True):
        # Our weights have 16 bits and Pillow's 22: a level now and then.
        assert np.abs(got - expected).max() <= 1
        assert (got != expected).mean() < 0.005


def test_resized_boxes_are_within_one_level_of_torchvision(resized):
    for got, expected in zip(resized, ARRAYS["resized_torchvision"], strict=True):
        # Its own kernel for tensors is that far from Pillow, too.
        assert np.abs(got - expected).max() <= 1


def test_pixels_outside_the_box_have_no_part():
    image = np.full((64, 64, 3), 255, np.uint8)
    image[10:30, 20:50] = 7
    for size in (8, 40):
        result = resize(image, Box(*np.array([10, 20, 20, 30])), size=size)
        np.testing.assert_array_equal(result, np.full((size, size, 3), 7))


@pytest.mark.parametrize(("name", "scale"), [("default", (0.08, 1.0)), ("large", (0.9, 1.0))])
def test_crops_are_drawn_as_torchvision_draws_them(name, scale):
    draw = functools.partial(crop_box, height=32, width=48, scale=scale, ratio=(3 / 4, 4 / 3))
    boxes = np.stack(jax.jit(jax.vmap(draw))(split(COUNT)), 1)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= SHAPE).all()
    assert_same_distribution(boxes, ARRAYS[f"draws_crop_{name}"])


def test_random_resized_crop_is_the_resized_box():
    keys = split(3)
    images = np.stack([CANVAS, CANVAS[::-1], CANVAS[:, ::-1]])
    results = jax.jit(functools.partial(random_resized_crop, size=32))(keys, images)
    draw = functools.partial(crop_box, height=64, width=64, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3))
    boxes = np.stack(jax.jit(jax.vmap(draw))(keys), 1)
    assert len(np.unique(boxes, axis=0)) == 3
    for box, image, result in zip(boxes, images, results, strict=True):
        np.testing.assert_array_equal(result, resize(image, Box(*box), size=32))


def test_half_of_the_images_are_flipped():
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    images = np.broadcast_to(image, (4000, 2, 3, 3))
    results = np.asarray(jax.jit(random_flip)(split(4000), images))
    kept = (results == image).all((1, 2, 3))
    flipped = (results == image[:, ::-1]).all((1, 2, 3))
    assert (kept ^ flipped).all()
    assert abs(flipped.mean() - 0.5) < 0.04  # five standard deviations


def test_shifted_crops_show_the_image_at_every_place_and_black_beyond():
    image = np.random.default_rng(0).integers(1, 256, (6, 5, 3), dtype=np.uint8)
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)))
    crop = jax.jit(functools.partial(random_shifted_crop, padding=2))
    results = np.asarray(crop(split(2000), np.broadcast_to(image, (2000, 6, 5, 3))))
    counts = np.array(
        [
            [(results == padded[top : top + 6, left : left + 5]).all((1, 2, 3)).sum()]
            for top in range(5)
            for left in range(5)
        ]
    )
    assert counts.sum() == 2000
    assert np.abs(counts - 80).max() < 5 * np.sqrt(80)


def test_a_crop_larger_than_the_image_is_refused():
    with pytest.raises(ValueError, match="64x64 pixels cannot be cropped to 65x65"):
        center_crop(CANVAS[None], 65)


def erased_boxes(count, **options):
    """Boxes [n, 4] of the images that lost one, and how many did not."""
    erase = jax.jit(functools.partial(random_erasing, **options))
    images = jnp.ones((count, *SHAPE, 1))
    erased = np.asarray(erase(split(count, seed=1), images))[..., 0] == 0
    erased, untouched = erased[erased.any((1, 2))], np.sum(~erased.any((1, 2)))
    rows, columns = erased.any(2), erased.any(1)
    box = [rows.argmax(1), columns.argmax(1), rows.sum(1), columns.sum(1)]
    np.testing.assert_array_equal(erased.sum((1, 2)), box[2] * box[3])  # nothing but one rectangle
    return np.stack(box, 1), untouched


def test_erased_boxes_are_drawn_as_torchvision_draws_them():
    boxes, untouched = erased_boxes(4000, probability=1.0)
    assert untouched == 0
    assert_same_distribution(boxes, ARRAYS["draws_erase_default"])


def test_an_image_stays_if_ten_boxes_do_not_fit():
    expected = ARRAYS["draws_erase_large"]
    none = (expected == [0, 0, *SHAPE]).all(1)
    boxes, untouched = erased_boxes(4000, probability=1.0, scale=(0.7, 0.99))
    assert 0.1 < none.mean() < 0.9
    assert abs(untouched / 4000 - none.mean()) < 0.055  # five standard deviations of a difference
    assert_same_distribution(boxes, expected[~none])


def test_a_quarter_of_the_images_is_erased():
    boxes, _ = erased_boxes(4000)
    assert abs(len(boxes) / 4000 - 0.25) < 0.035  # five standard deviations

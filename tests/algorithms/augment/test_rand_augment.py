"""RandAugment and its operations against torchvision's on a photograph, noise and a plain image."""

from typing import Any

import jax
import numpy as np
import pytest

from dreamda_jax.algorithms.augment import color
from dreamda_jax.algorithms.augment.rand_augment import (
    NAMES,
    OPERATIONS,
    amounts,
    draw_operations,
    rand_augment,
)
from tests.support.paths import REFERENCE

ARRAYS = np.load(REFERENCE / "augment.npz")
WARPS = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
PHOTO = ARRAYS["photo"]  # 48 high, 40 wide
COMPILED = {name: jax.jit(op) for name, op in OPERATIONS.items()}


def cases(names):
    pictures = ("photo", "odd", "noise", "constant")
    return [(op, picture) for op in names for picture in pictures if f"{picture}_{op}" in ARRAYS]


def apply(op, picture):
    """Our results and torchvision's, [n, h, w, 3] as integers, and the amounts."""
    strengths = ARRAYS[f"{picture}_{op}_amounts"]
    image = ARRAYS[picture]
    ours = np.stack([COMPILED[op](image, np.float32(amount)) for amount in strengths])
    assert ours.dtype == np.uint8
    return ours.astype(int), ARRAYS[f"{picture}_{op}"].astype(int), strengths


def test_every_operation_of_torchvision_is_there():
    assert set(NAMES) == set(ARRAYS["op_names"])
    assert len(NAMES) == 14


def test_magnitudes_are_torchvisions():
    table = amounts(48, 40)
    for name, expected in zip(ARRAYS["op_names"], ARRAYS["op_magnitudes"], strict=True):
        # torch takes the steps in float32; 3e-5 of solarize's 255 is two of its roundings.
        np.testing.assert_allclose(
            table[NAMES.index(name)], expected, rtol=1e-6, atol=3e-5, err_msg=name
        )


@pytest.mark.parametrize(
    ("op", "picture"),
    cases(sorted({*NAMES} - {"Rotate", "Contrast", "Color", "Sharpness"})),
)
def test_equals_torchvision(op, picture):
    ours, expected, _ = apply(op, picture)
    np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize(("op", "picture"), cases(["Rotate"]))
def test_rotation_equals_torchvision_but_for_ties(op, picture):
    ours, expected, strengths = apply(op, picture)
    height, width = ours.shape[1:3]
    y, x = np.mgrid[:height, :width] - np.reshape([(height - 1) / 2, (width - 1) / 2], (2, 1, 1))
    for got, want, degrees in zip(ours, expected, strengths, strict=True):
        cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        column, row = cosine * x - sine * y + width / 2, sine * x + cosine * y + height / 2
        # sin 30° = 1/2 puts points of an image with odd sides halfway between two pixels: there
        # torch's rounding of float32 decides which is nearest. We keep 5e-5 pixels of precision.
        ties = np.minimum(*(np.abs(c - np.round(c)) for c in (column, row))) < 1e-4
        assert ties.mean() < 0.05
        np.testing.assert_array_equal(got[~ties], want[~ties])


@pytest.mark.parametrize(("op", "picture"), cases(["Color", "Sharpness"]))
def test_blends_differ_from_torchvision_only_at_whole_levels(op, picture):
    ours, expected, strengths = apply(op, picture)
    image = ARRAYS[picture]
    other = np.asarray(jax.jit({"Color": color.gray, "Sharpness": color.blurred}[op])(image))
    for got, want, amount in zip(ours, expected, strengths, strict=True):
        hundredths = round(100 * amount)
        exact = (100 + hundredths) * image.astype(int) - hundredths * other
        np.testing.assert_array_equal(got, np.clip(exact // 100, 0, 255))
        # Where the blend is a whole level, torch's float32 may fall just below it and is cut off.
        differs = got != want
        assert (exact[differs] % 100 == 0).all()
        assert np.abs(got - want).max() <= 1


@pytest.mark.parametrize(("op", "picture"), cases(["Contrast"]))
def test_contrast_is_within_one_level_of_torchvision(op, picture):
    ours, expected, _ = apply(op, picture)
    # The same reason, with a mean that is no whole number: one level, in few pixels.
    assert np.abs(ours - expected).max() <= 1
    assert (ours != expected).mean() < 0.005


def test_a_plain_image_stays_plain():
    for op in ("AutoContrast", "Equalize", "Sharpness"):
        plain = ARRAYS["constant"]
        np.testing.assert_array_equal(COMPILED[op](plain, np.float32(0.9)), plain)


def test_images_get_the_operations_that_are_drawn():
    keys = jax.random.split(jax.random.key(3), 48)
    images = np.broadcast_to(PHOTO, (48, *PHOTO.shape))
    options: dict[str, Any] = {"num_ops": 2, "magnitude": 20, "random_magnitude": False}
    results = jax.jit(lambda keys, images: rand_augment(keys, images, **options))(keys, images)
    table = amounts(*PHOTO.shape[:2])
    draw = jax.jit(jax.vmap(lambda key: draw_operations(key, table, **options)))
    drawn, strengths = map(np.asarray, draw(keys))
    assert len(np.unique(drawn)) == 14
    for result, ops, row in zip(results, drawn, strengths, strict=True):
        expected = PHOTO
        for op, amount in zip(ops, row, strict=True):
            expected = COMPILED[NAMES[op]](expected, amount)
        np.testing.assert_array_equal(result, expected, err_msg=str([NAMES[op] for op in ops]))


def test_operations_signs_and_strengths_are_drawn_evenly():
    table, count = amounts(224, 224), 14_000

    def draw(random_magnitude):
        keys = jax.random.split(jax.random.key(0), count)
        options: dict[str, Any] = {"num_ops": 2, "magnitude": 9}
        options["random_magnitude"] = random_magnitude
        drawn = jax.jit(jax.vmap(lambda key: draw_operations(key, table, **options)))(keys)
        return map(np.asarray, drawn)

    ops, strengths = draw(False)
    counts = np.stack([np.bincount(column, minlength=14) for column in ops.T])
    # 1000 of each are expected, standard deviation 30.5; five of them.
    assert np.abs(counts - count / 14).max() < 150
    pairs = np.bincount(14 * ops[:, 0] + ops[:, 1], minlength=196)
    assert np.abs(pairs - count / 196).max() < 5 * np.sqrt(count / 196)
    for op, name in enumerate(NAMES):
        signs = strengths[ops == op]
        signed = ARRAYS["op_signed"][list(ARRAYS["op_names"]).index(name)]
        np.testing.assert_allclose(np.abs(signs), table[op, 9])
        # About 2000 draws: standard deviation of the mean sign 0.022; five of them.
        assert abs(np.mean(signs < 0) - signed / 2) < (0.056 if signed else 1e-9), name

    ops, strengths = draw(True)
    rotations = np.abs(strengths[ops == NAMES.index("Rotate")])
    np.testing.assert_allclose(np.unique(rotations), np.arange(10), rtol=1e-6)  # one degree a step
    assert np.abs(np.bincount(np.round(rotations).astype(int)) / len(rotations) - 0.1).max() < 0.034

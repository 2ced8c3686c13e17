import numpy as np
import pytest

from dreamda_jax.data.tonal_range import is_narrow


@pytest.mark.parametrize(
    ("low", "high", "narrow"),
    [(0, 16, True), (0, 31, True), (0, 32, False), (0, 255, False), (240, 255, True), (7, 7, True)],
)
def test_under_an_eighth_of_the_range(low, high, narrow):
    levels = np.linspace(low, high, 48 * 48 * 3).round().astype(np.uint8)
    assert is_narrow(np.random.default_rng(0).permutation(levels).reshape(48, 48, 3)) is narrow


def test_a_hot_pixel_makes_no_picture():
    dark = np.full((64, 64, 3), 3, np.uint8)
    dark[10, 20] = 255
    assert is_narrow(dark)
    dark[:16, :16] = 255  # a sixteenth does
    assert not is_narrow(dark)

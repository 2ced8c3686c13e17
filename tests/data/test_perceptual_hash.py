"""Fingerprints against the ImageHash package itself, of changed and of flat images."""

import io

import imagehash
import numpy as np
import pytest
import skimage.data
from PIL import Image

from dreamda_jax.algorithms.metrics import neighbours
from dreamda_jax.data.perceptual_hash import MIN_CONTRAST, NO_HASH, fingerprint

PHOTOGRAPHS = {
    name: getattr(skimage.data, name)()
    for name in ("astronaut", "coffee", "chelsea", "rocket", "colorwheel")
}


@pytest.fixture(params=PHOTOGRAPHS)
def photograph(request):
    return PHOTOGRAPHS[request.param]


def jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file))


def bits_apart(first: np.uint64, second: np.uint64) -> int:
    return int(np.bitwise_count(first ^ second))


def test_hash_is_that_of_imagehash(photograph):
    found = fingerprint(photograph)
    assert found.hash == int(str(imagehash.phash(Image.fromarray(photograph))), 16)
    # Pillow's filter rounds a mirrored image otherwise in few pixels: an exact tie may go over.
    mirrored = Image.fromarray(photograph[:, ::-1].copy())
    assert bits_apart(found.mirrored_hash, np.uint64(int(str(imagehash.phash(mirrored)), 16))) <= 2


def test_mirror_image_has_the_two_hashes_swapped(photograph):
    found, mirrored = fingerprint(photograph), fingerprint(photograph[:, ::-1])
    assert bits_apart(found.hash, mirrored.mirrored_hash) <= 2
    assert bits_apart(found.mirrored_hash, mirrored.hash) <= 2
    # One grey level, of rounding, in a few pixels.
    np.testing.assert_allclose(mirrored.thumbnail, found.thumbnail[:, ::-1], atol=2e-3)


def test_thumbnail_is_standardised(photograph):
    thumbnail = fingerprint(photograph).thumbnail
    assert thumbnail.dtype == np.float32
    assert thumbnail.shape == (16, 16)
    assert thumbnail.mean(dtype=np.float64) == pytest.approx(0, abs=1e-7)
    assert np.linalg.norm(thumbnail) == pytest.approx(1)


def test_changes_that_leave_the_picture(photograph):
    original = fingerprint(photograph)
    half = Image.fromarray(photograph).resize((150, 150), Image.Resampling.LANCZOS)
    darker = (photograph * 0.8).astype(np.uint8)
    for changed in (jpeg(photograph, 75), jpeg(photograph, 50), np.array(half), darker):
        found = fingerprint(changed)
        assert bits_apart(found.hash, original.hash) <= 4
        assert np.linalg.norm(found.thumbnail - original.thumbnail) < 0.05


def test_different_pictures_are_far_apart():
    prints = [fingerprint(pixels) for pixels in PHOTOGRAPHS.values()]
    for i, first in enumerate(prints):
        for second in prints[:i]:
            assert bits_apart(first.hash, second.hash) > 16
            assert np.linalg.norm(first.thumbnail - second.thumbnail) > 0.5


def flat_images():
    noise = np.random.default_rng(0).integers(-1, 2, (64, 64, 3))
    checked = np.indices((64, 64)).sum(0) % 2 * 255  # all of it above the thumbnail's frequencies
    return {
        "black": np.zeros((32, 32, 3), np.uint8),
        "white": np.full((32, 32, 3), 255, np.uint8),
        "one pixel": np.full((1, 1, 3), 100, np.uint8),
        "noisy": (100 + noise).astype(np.uint8),
        "compressed": jpeg((100 + noise).astype(np.uint8), 50),
        "fine pattern": np.repeat(checked[:, :, None], 3, axis=2).astype(np.uint8),
    }


@pytest.mark.parametrize("name", flat_images())
def test_flat_images_have_no_hash(name):
    found = fingerprint(flat_images()[name])
    assert found.hash == found.mirrored_hash == NO_HASH == neighbours.NO_HASH
    assert not found.thumbnail.any()


def test_a_little_contrast_is_enough_for_a_hash():
    ramp = np.linspace(100, 100 + 5 * MIN_CONTRAST, 64).round()  # its deviation is 5/√12 of that
    found = fingerprint(np.broadcast_to(ramp[:, None], (64, 64, 3)).astype(np.uint8))
    assert found.hash != NO_HASH
    assert found.hash.dtype == np.uint64


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((1, 8, 8, 3), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
    ],
    ids=lambda pixels: f"{pixels.dtype}{pixels.shape}",
)
def test_what_is_no_image(pixels):
    with pytest.raises(ValueError, match=r"uint8 \[h, w, 3\]"):
        fingerprint(pixels)

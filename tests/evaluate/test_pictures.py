"""Pictures of the report: small ones exactly, large ones small."""

import io

import numpy as np
from PIL import Image

from dreamda_jax.evaluate.pictures import MOST_PIXELS, encode


def test_small_images_are_kept_exactly():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    with Image.open(io.BytesIO(encode(pixels))) as image:
        assert image.format == "PNG"
        np.testing.assert_array_equal(np.asarray(image), pixels)


def test_large_images_become_small_files():
    ramp = np.linspace(0, 255, 512).astype(np.uint8)
    pixels = np.stack(np.broadcast_arrays(ramp[:, None], ramp, np.uint8(128)), axis=-1)
    data = encode(pixels)
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.size) == ("JPEG", (MOST_PIXELS, MOST_PIXELS))
        small = pixels.reshape(256, 2, 256, 2, 3).mean((1, 3))
        assert np.abs(np.asarray(image, np.float64) - small).mean() < 3
    assert len(data) < 30_000

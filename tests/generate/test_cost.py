"""What a set takes on the disk, estimated before it is made."""

import numpy as np
from PIL import Image

from dreamda_jax.data.sets.records import encode_image
from dreamda_jax.generate.cost import estimated_bytes


def test_estimated_bytes_is_an_upper_estimate():
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(noise).resize((8, 8)).resize((64, 64), Image.BICUBIC))
    for image_format in ("png", "jpeg"):
        one = len(encode_image(smooth, image_format=image_format, quality=95))
        estimate = estimated_bytes(10, num_shards=1, resolution=64, image_format=image_format)
        assert 10 * one < estimate

"""What an evaluation takes of every image: features of a network, and the fingerprint of copies."""

import jax
import numpy as np

from dreamda_jax.data import perceptual_hash
from dreamda_jax.models.extractors import Extractor
from dreamda_jax.runtime import devices as meshes
from dreamda_jax.runtime.sweep import Channel


def device_channel(mesh: jax.sharding.Mesh, extractor: Extractor) -> Channel:
    """An extractor, its batches shared among all devices of the mesh."""
    features = jax.jit(extractor.features)

    def start(images: np.ndarray) -> jax.Array:
        return features(extractor.params, meshes.global_rows(mesh, images))

    return Channel(extractor.name, extractor.digest, (extractor.num_features,), np.float32, start)


FINGERPRINTS = "fingerprint"
_FINGERPRINT = np.dtype(
    [
        ("hash", "<u8"),
        ("mirrored_hash", "<u8"),
        ("thumbnail", "<f4", (perceptual_hash.THUMBNAIL_SIZE,) * 2),
    ]
)


def fingerprint_channel() -> Channel:
    """What copies are recognised by; rows have the fields of `perceptual_hash`'s."""

    def start(images: np.ndarray) -> np.ndarray:
        rows = [tuple(perceptual_hash.fingerprint(pixels)) for pixels in images]
        return np.array(rows, _FINGERPRINT)

    return Channel(FINGERPRINTS, "1", (), _FINGERPRINT, start)

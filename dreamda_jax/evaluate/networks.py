"""What images are looked at with: an extractor, perhaps CLIP, and the fingerprint of copies."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from dreamda_jax.data import perceptual_hash, prompts
from dreamda_jax.errors import UserError
from dreamda_jax.models.clip import encoder
from dreamda_jax.models.extractors import CLIP, Extractor, clip_extractor, open_extractor
from dreamda_jax.models.weights.load import Place
from dreamda_jax.options.checkpoints import Clip
from dreamda_jax.options.evaluate import Evaluate
from dreamda_jax.runtime import devices
from dreamda_jax.runtime.sweep import Channel

FINGERPRINTS = "fingerprint"
_FINGERPRINT = np.dtype(
    [
        ("hash", "<u8"),
        ("mirrored_hash", "<u8"),
        ("thumbnail", "<f4", (perceptual_hash.THUMBNAIL_SIZE,) * 2),
    ]
)


class Networks(NamedTuple):
    """Everything that is taken of an image.

    Attributes:
      extractor: of the features that sets are compared in.
      extractors: it, and CLIP where that is asked for too.
      channels: what is taken: its features, CLIP's embeddings, the fingerprint.
      prompts: CLIP's embeddings of the classes' prompts, [c, d]; None: no CLIP was asked for.
    """

    extractor: Extractor
    extractors: tuple[Extractor, ...]
    channels: tuple[Channel, ...]
    prompts: np.ndarray | None


def open_networks(options: Evaluate, clip: Clip, label_names: Sequence[str]) -> Networks:
    """Loads what section "evaluate" names.

    Args:
      options: which networks.
      clip: section "clip", for the extractor "clip", CMMD and CLIP score.
      label_names: the classes, whose prompts images are compared with.

    Raises:
      UserError: one of the networks is not there.
    """
    mesh = devices.training_mesh()
    place = functools.partial(devices.place, sharding=devices.replicated(mesh))
    used: list[Extractor] = []
    embeddings = None
    if options.extractor != CLIP:
        used.append(
            open_extractor(
                options.extractor,
                inception_weights=options.inception_weights,
                resize=options.resize,
                place=place,
            )
        )
    if options.clip or not used:  # where the extractor is CLIP, they are one channel
        opened = _open_clip(clip, place, needed=not used)
        used.append(clip_extractor(opened, clip.path))
        if options.clip:
            texts = prompts.class_prompts(label_names, clip.template)
            embeddings = np.asarray(opened.embed_texts(opened.params, texts))
    channels = [device_channel(mesh, each) for each in used]
    return Networks(
        extractor=used[0],
        extractors=tuple(used),
        channels=(*channels, fingerprint_channel()),
        prompts=embeddings,
    )


def _open_clip(options: Clip, place: Place, *, needed: bool) -> encoder.Encoder:
    try:
        return encoder.open_encoder(options.path, revision=options.revision, place=place)
    except UserError as error:
        if needed:
            raise
        raise UserError(
            f"{error}\nAnother CLIP is given as --config.clip.path; without CMMD and CLIP score "
            "none is needed: --config.evaluate.clip=False"
        ) from error


def device_channel(mesh: jax.sharding.Mesh, extractor: Extractor) -> Channel:
    """An extractor, its batches shared among all devices of the mesh."""
    features = jax.jit(extractor.features)

    def start(images: np.ndarray) -> jax.Array:
        return features(extractor.params, devices.global_rows(mesh, images))

    return Channel(extractor.name, extractor.digest, (extractor.num_features,), np.float32, start)


def fingerprint_channel() -> Channel:
    """What copies are recognised by; rows have the fields of `perceptual_hash`'s."""

    def start(images: np.ndarray) -> np.ndarray:
        rows = [tuple(perceptual_hash.fingerprint(pixels)) for pixels in images]
        return np.array(rows, _FINGERPRINT)

    return Channel(FINGERPRINTS, "1", (), _FINGERPRINT, start)

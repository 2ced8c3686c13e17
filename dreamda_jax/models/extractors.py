"""Feature extractors by name: Inception-v3, CLIP, and any classifier that `train` saved."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dreamda_jax.algorithms.augment import policy
from dreamda_jax.data.files import staging
from dreamda_jax.errors import UserError
from dreamda_jax.models.classifiers import oracle, pretrained, weight_files
from dreamda_jax.models.clip import encoder as clip
from dreamda_jax.models.inception.network import Resize, open_inception
from dreamda_jax.models.inception.weights import how_to_get
from dreamda_jax.models.weights.load import Place
from dreamda_jax.types import Image, Params

CLIP = "clip"


class Extractor(NamedTuple):
    """A network whose features images are compared in.

    Attributes:
      name: short, such as "inception".
      description: in words, for the report.
      params: on the device(s).
      features: `features(params, images)`: uint8 [b, h, w, 3] of any size -> float32 [b, d]. It can
        be traced; a new image size compiles anew.
      num_features: d.
      digest: of its weights and of what is done to an image first, hexadecimal.
    """

    name: str
    description: str
    params: Params
    features: Callable[[Params, Image], Float[Array, "b d"]]
    num_features: int
    digest: str


def open_extractor(
    name: str,
    *,
    inception_weights: str | None,
    resize: Resize,
    place: Place = jax.device_put,
) -> Extractor:
    """Loads an extractor; for CLIP see `clip_extractor`.

    Args:
      name: "inception", "sample" (the packaged oracle of the embedded sample), or the directory of
        a classifier that `train` saved.
      inception_weights: a safetensors file; see `inception.network.open_inception`.
      resize: how images become Inception's 299 pixels.
      place: puts one array on the device(s).

    Raises:
      UserError: there is no such extractor, or its files are missing or damaged.
    """
    if name == "inception":
        return _inception(inception_weights, resize, place)
    directory = oracle.SAMPLE if name == "sample" else staging.local(name)
    saved = directory / "run-0" / "classifier"
    if saved.is_dir():
        raise UserError(
            f"evaluate.extractor={name} is what `train` was told to write to: its classifier is "
            f"--config.evaluate.extractor={saved}"
        )
    if not directory.is_dir():
        raise UserError(
            f"evaluate.extractor={name!r} is neither inception, clip, sample nor the directory of "
            "a trained classifier (such as runs/fashion_classifier/run-0/classifier)"
        )
    return _classifier(name, directory, place)


def clip_extractor(encoder: clip.Encoder, path: str) -> Extractor:
    """CLIP's image embeddings, of length 1."""
    params = encoder.image_params
    return _described(
        CLIP,
        f"CLIP image embeddings, {path}",
        params,
        encoder.embed_images,
        encoder.image_size,
        encoder.digest,
    )


def _inception(weights: str | None, resize: Resize, place: Place) -> Extractor:
    if weights is None:
        raise UserError(
            f"evaluate.extractor=inception, and no evaluate.inception_weights. {how_to_get()}"
        )
    found = open_inception(weights, resize=resize, place=place)
    return Extractor(
        "inception",
        f"Inception-v3 (the FID network of 2015-12-05), pool3, {resize} resizing",
        found.variables,
        found.features,
        found.num_features,
        f"{found.digest}-{resize}",
    )


def _classifier(name: str, directory: Path, place: Place) -> Extractor:
    module, variables, config = pretrained.open_classifier(directory, place=place)
    what = "the packaged classifier of the embedded sample" if name == "sample" else str(directory)
    return _described(
        "classifier",
        f"{config.architecture} before its head: {what}",
        variables,
        functools.partial(_classifier_features, module, config),
        config.image_size,
        weight_files.digest(directory),
    )


def _classifier_features(
    module: nn.Module, config: pretrained.ClassifierConfig, variables: Params, images: Image
) -> Float[Array, "b d"]:
    size = config.image_size
    pixels: Any = images
    if images.shape[1:3] != (size, size):
        shape = (len(images), size, size, 3)
        resized = jax.image.resize(jnp.asarray(images, jnp.float32), shape, "cubic", antialias=True)
        pixels = jnp.clip(resized, 0, 255)
    view = policy.normalize(pixels, config.mean, config.std)
    outputs: Any = module.apply(variables, view, train=False, return_features=True)
    return outputs[1].astype(jnp.float32)


def _described(
    name: str,
    description: str,
    params: Params,
    features: Callable[[Params, Image], Float[Array, "b d"]],
    side: int,
    digest: str,
) -> Extractor:
    images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.uint8)
    width = jax.eval_shape(features, params, images).shape[-1]
    return Extractor(name, description, params, features, width, digest)

"""CLIP as a zero-shot classifier (Radford et al. 2021, https://arxiv.org/abs/2103.00020).

Weights are read by `weights`, which accounts for every tensor: transformers' own `from_pretrained`
fills what it cannot place with random numbers. Numbers equal PyTorch transformers' on the same
weights, see tests/models.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dreamda_jax.errors import UserError
from dreamda_jax.models.clip.config import ClipTextConfig, read_clip_config
from dreamda_jax.models.clip.files import digest, find_clip
from dreamda_jax.models.clip.preprocessing import (
    preprocess,
    preprocess_smoothly,
    read_preprocessing,
)
from dreamda_jax.models.clip.text_model import LEGACY_EOS
from dreamda_jax.models.clip.vision_model import FlaxCLIPModule
from dreamda_jax.models.flax_modules import apply_module, init_shapes
from dreamda_jax.models.tokenizer import encode_prompts, load_tokenizer
from dreamda_jax.models.weights.hub import read_json
from dreamda_jax.models.weights.load import Place, check_weights, load_weights
from dreamda_jax.types import Image, Params, TokenIds

_IMAGE_PARAMS = ("vision_model", "visual_projection", "logit_scale")


class Encoder(NamedTuple):
    """A CLIP that gives images and texts their places in one space."""

    params: Params
    """All parameters as the module names them, float32."""
    embed_images: Callable[[Params, Image], Float[Array, "b d"]]
    """`embed_images(params, images)`: uint8 [b, h, w, 3] of any size -> float32 [b, d], of length
    1. It can be traced; a new image size compiles anew. Needs only `image_params`."""
    embed_texts: Callable[[Params, Sequence[str]], Float[Array, "n d"]]
    """`embed_texts(params, texts)`: float32 [n, d], of length 1. What is longer than the tokenizer
    allows is cut; the end token stays."""
    image_size: int
    """Side of what the image encoder sees."""
    digest: str
    """Of its weights, its config and what is done to an image first, hexadecimal."""

    @property
    def image_params(self) -> Params:
        """Of the parameters, those of the image encoder, its projection and the logit scale."""
        return {name: self.params[name] for name in _IMAGE_PARAMS}


class ZeroShot(NamedTuple):
    """A CLIP whose classes are fixed."""

    params: Params
    """Image encoder, projection and logit scale as the module names them, and "text_embeddings"
    [C, d], of length 1; all float32."""
    classify: Callable[[Params, Image], Float[Array, "b c"]]
    """`classify(params, images)`: uint8 [b, h, w, 3] of any size -> the probability of each prompt,
    float32 [b, C], rows sum to 1. It can be traced; a new image size compiles anew."""
    image_size: int
    """Side of what the image encoder sees."""


class Guide(NamedTuple):
    """A CLIP whose classes are fixed and whose image encoder has gradients; no weight is read yet.

    Its parameters are those of a `ZeroShot`.
    """

    embed_images: Callable[[Params, Image], Float[Array, "b d"]]
    """See `Encoder`."""
    embed_pixels: Callable[[Params, Float[Array, "b h w 3"]], Float[Array, "b d"]]
    """The same of pixels 0..255 that need not be whole numbers, and without rounding: it can be
    differentiated."""
    shapes: Params
    """Of the parameters, `jax.ShapeDtypeStruct`."""
    load: Callable[[Place], Params]
    """`load(place)`: reads the weights and encodes the classes."""
    digest: str
    """Of weights, config and preprocessing, hexadecimal."""


def open_encoder(
    path: str | os.PathLike[str], *, revision: str | None = None, place: Place = jax.device_put
) -> Encoder:
    """Load a CLIP.

    Args:
        path: a directory in transformers' layout, a hub id, or "sample" for the packaged tiny CLIP.
        revision: branch, tag or commit on the hub.
        place: puts one parameter on the device(s).

    Raises:
        UserError: files are missing, damaged or pickled, it is another model, weights do not fit
            the config or are not finite, tokenizer and text encoder do not belong together, or a
            setting is not supported.
    """
    files = find_clip(path, revision=revision)
    module = _open_module(files.config)
    preprocessing = read_preprocessing(files, image_size=module.config.vision_config.image_size)
    text = module.config.text_config
    _tokenize(files.directory, [""], config=text)  # raises before the weights are read
    shapes = flax.traverse_util.flatten_dict(_param_shapes(module, files.config))
    params = load_weights([files.weights], shapes, dtype=jnp.float32, place=place)

    @jax.jit
    def embed_ids(params: Params, token_ids: TokenIds) -> Float[Array, "n d"]:
        return apply_module(module, params, token_ids, method=module.embed_texts)

    def embed_images(params: Params, images: Image) -> Float[Array, "b d"]:
        pixels = preprocess(images, preprocessing)
        return apply_module(module, params, pixels, method=module.embed_images)

    def embed_texts(params: Params, texts: Sequence[str]) -> Float[Array, "n d"]:
        return embed_ids(params, _tokenize(files.directory, texts, config=text))

    return Encoder(params, embed_images, embed_texts, preprocessing.crop, digest(files))


def open_zero_shot(
    path: str | os.PathLike[str],
    *,
    prompts: Sequence[str],
    revision: str | None = None,
    place: Place = jax.device_put,
) -> ZeroShot:
    """Load a CLIP and encode its classes.

    Args:
        path: see `open_encoder`; likewise revision and place.
        prompts: one per class, such as "a photo of a bag".
        revision: branch, tag or commit on the hub.
        place: puts one parameter on the device(s).

    Raises:
        UserError: see `open_encoder`.
        ValueError: no prompt.
    """
    if not prompts:
        raise ValueError("a zero-shot classifier needs at least one prompt")
    encoder = open_encoder(path, revision=revision, place=place)

    def classify(params: Params, images: Image) -> Float[Array, "b c"]:
        similarities = encoder.embed_images(params, images) @ params["text_embeddings"].T
        return jax.nn.softmax(similarities * jnp.exp(params["logit_scale"]), axis=-1)

    # The text encoder has done its work: it is not kept.
    embeddings = encoder.embed_texts(encoder.params, prompts)
    params = {**encoder.image_params, "text_embeddings": embeddings}
    return ZeroShot(params, classify, encoder.image_size)


def open_guide(
    path: str | os.PathLike[str], *, prompts: Sequence[str], revision: str | None = None
) -> Guide:
    """Open a CLIP to score images that are still being made.

    Args:
        path: see `open_encoder`; likewise revision.
        prompts: one per class.
        revision: branch, tag or commit on the hub.

    Raises:
        UserError: see `open_encoder`; about weights that are not finite only when they are loaded.
    """
    files = find_clip(path, revision=revision)
    module = _open_module(files.config)
    preprocessing = read_preprocessing(files, image_size=module.config.vision_config.image_size)
    every = _param_shapes(module, files.config)
    check_weights([files.weights], flax.traverse_util.flatten_dict(every))
    of_classes = (len(prompts), module.config.projection_dim)

    def embed_images(params: Params, images: Image) -> Float[Array, "b d"]:
        pixels = preprocess(images, preprocessing)
        return apply_module(module, params, pixels, method=module.embed_images)

    def embed_pixels(params: Params, pixels: Float[Array, "b h w 3"]) -> Float[Array, "b d"]:
        smooth = preprocess_smoothly(pixels, preprocessing)
        return apply_module(module, params, smooth, method=module.embed_images)

    def load(place: Place) -> Params:
        encoder = open_encoder(path, revision=revision)
        embeddings = encoder.embed_texts(encoder.params, prompts)
        params = {**encoder.image_params, "text_embeddings": embeddings}
        return jax.tree.map(lambda leaf: place(np.asarray(leaf)), params)

    shapes = {name: every[name] for name in _IMAGE_PARAMS}
    shapes["text_embeddings"] = jax.ShapeDtypeStruct(of_classes, jnp.float32)
    return Guide(embed_images, embed_pixels, shapes, load, digest(files))


def _open_module(file: Path) -> FlaxCLIPModule:
    return FlaxCLIPModule(read_clip_config(read_json(file), where=str(file)))


def _param_shapes(module: FlaxCLIPModule, file: Path) -> Params:
    side = module.config.vision_config.image_size
    tokens = jnp.zeros((1, 1), jnp.int32)
    try:
        return init_shapes(module, tokens, jnp.zeros((1, side, side, 3)), dtype=jnp.float32)
    except (ValueError, TypeError, ZeroDivisionError) as error:
        raise UserError(f"{file}: no CLIP can be built from it ({error}).") from error


def _tokenize(directory: Path, prompts: Sequence[str], *, config: ClipTextConfig) -> np.ndarray:
    tokenizer = load_tokenizer(directory)
    length = min(config.max_position_embeddings, tokenizer.model_max_length)
    try:
        ids = encode_prompts(tokenizer, prompts, length=length, vocabulary=config.vocab_size)
    except UserError as error:
        raise UserError(f"{directory}: {error}") from error
    # Without an end token the module would read out the first one, the same for every prompt.
    if config.eos_token_id != LEGACY_EOS and not (ids == config.eos_token_id).any(axis=1).all():
        raise UserError(
            f"{directory}: the tokenizer ends prompts with token {tokenizer.eos_token_id}, but "
            f"config.json says text_config.eos_token_id={config.eos_token_id}. They are not of the "
            "same model."
        )
    return ids

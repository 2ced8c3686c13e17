"""CLIP as a zero-shot classifier (Radford et al. 2021, https://arxiv.org/abs/2103.00020).

Through transformers' Flax module (`modeling_flax_clip.py`), with weights read by `weights`, which
accounts for every tensor: transformers' own `from_pretrained` fills what it cannot place with
random numbers. Numbers equal PyTorch transformers' on the same weights, see tests/models.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dreamda_jax.errors import UserError
from dreamda_jax.models.checkpoint_files import read_json
from dreamda_jax.models.clip_files import ClipFiles, digest, find_clip
from dreamda_jax.models.flax_modules import apply_module, init_shapes
from dreamda_jax.models.quiet import quiet_flax_imports
from dreamda_jax.models.tokenizer import encode_prompts, load_tokenizer
from dreamda_jax.models.weights import Place, load_weights
from dreamda_jax.types import Image, Params, TokenIds

with quiet_flax_imports():
    from transformers import CLIPConfig
    from transformers.models.clip.modeling_flax_clip import FlaxCLIPModule

# Of CLIPImageProcessor, where a checkpoint has no preprocessor_config.json.
OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)

_BICUBIC = 3  # Pillow's number
_ACTIVATIONS = ("quick_gelu", "gelu")
_IMAGE_PARAMS = ("vision_model", "visual_projection", "logit_scale")
_LEGACY_EOS = 2  # stands in old configs for whatever id is the highest


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


class Preprocessing(NamedTuple):
    """What is done to an image first, as CLIPImageProcessor does it on Pillow."""

    size: int | tuple[int, int]
    """Of the shorter side, the ratio being kept; or (height, width)."""
    crop: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


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
    module = FlaxCLIPModule(_read_config(files.config))
    preprocessing = read_preprocessing(files, image_size=module.config.vision_config.image_size)
    _tokenize(files.directory, [""], config=module.config)  # raises before the weights are read
    shapes = flax.traverse_util.flatten_dict(_param_shapes(module, files.config))
    params = load_weights([files.weights], shapes, dtype=jnp.float32, place=place)
    encode = jax.jit(lambda params, ids: apply_module(module, params, ids, method=_text_embeddings))

    def embed_images(params: Params, images: Image) -> Float[Array, "b d"]:
        pixels = preprocess(images, preprocessing)
        return apply_module(module, params, pixels, method=_image_embeddings)

    def embed_texts(params: Params, texts: Sequence[str]) -> Float[Array, "n d"]:
        return encode(params, _tokenize(files.directory, texts, config=module.config))

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


def read_preprocessing(files: ClipFiles, *, image_size: int) -> Preprocessing:
    """Read preprocessor_config.json; OpenAI's numbers where there is none.

    Raises:
        UserError: it asks for what `preprocess` does not do, or does not fit the model's image
            size.
    """
    raw = {} if files.preprocessor is None else read_json(files.preprocessor)
    where = files.preprocessor or files.directory
    only: dict[str, tuple[Any, ...]] = {
        "do_center_crop": (True,),
        "do_normalize": (True,),
        "do_rescale": (True,),
        "do_resize": (True,),
        "resample": (_BICUBIC,),
    }
    for field, values in only.items():
        if raw.get(field, values[0]) not in values:
            raise UserError(
                f"{where}: {field}={raw[field]!r} is not supported, only {values[0]!r}."
            )
    try:
        size = _size(raw.get("size", image_size))
        crop = _size(raw.get("crop_size", image_size))
        mean = tuple(map(float, raw.get("image_mean", OPENAI_MEAN)))
        std = tuple(map(float, raw.get("image_std", OPENAI_STD)))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{where}: not the config of a CLIPImageProcessor ({error!r}).") from error
    if crop not in (image_size, (image_size, image_size)) or np.min(size) < image_size:
        raise UserError(
            f"{where}: images of size {size} cropped to {crop} do not fit the model, whose "
            f"vision_config.image_size is {image_size}."
        )
    return Preprocessing(size=size, crop=image_size, mean=mean, std=std)


def preprocess(images: Image, preprocessing: Preprocessing) -> Float[Array, "b h w 3"]:
    """Resize, crop the centre and normalise, as transformers' (slow) CLIPImageProcessor does.

    Args:
        images: uint8 [b, h, w, 3].
        preprocessing: see the class.

    Returns:
        float32 [b, crop, crop, 3].
    """
    batch, height, width, channels = images.shape
    if isinstance(preprocessing.size, tuple):
        new_height, new_width = preprocessing.size
    else:
        shorter = min(height, width)
        new_height = preprocessing.size * height // shorter
        new_width = preprocessing.size * width // shorter
    # Pillow resizes the rows, then the columns, and each time goes back to whole numbers.
    pixels = _resize(jnp.asarray(images, jnp.float32), (batch, height, new_width, channels))
    pixels = _resize(pixels, (batch, new_height, new_width, channels))
    top, left = (new_height - preprocessing.crop) // 2, (new_width - preprocessing.crop) // 2
    pixels = pixels[:, top : top + preprocessing.crop, left : left + preprocessing.crop]
    mean, std = jnp.asarray(preprocessing.mean), jnp.asarray(preprocessing.std)
    return (pixels / 255.0 - mean) / std


def _resize(pixels: Float[Array, "b h w 3"], shape: tuple[int, ...]) -> Float[Array, "b h w 3"]:
    resized = jax.image.resize(pixels, shape, "bicubic", antialias=True)
    return jnp.clip(jnp.floor(resized + 0.5), 0, 255)  # halves go up, not to even


def _image_embeddings(module: FlaxCLIPModule, pixels: Float[Array, "b h w 3"]) -> jax.Array:
    output = module.vision_model(pixels, return_dict=True)
    return _unit_length(module.visual_projection(output.pooler_output))


def _text_embeddings(module: FlaxCLIPModule, token_ids: TokenIds) -> jax.Array:
    positions = jnp.broadcast_to(jnp.arange(token_ids.shape[1]), token_ids.shape)
    # No attention mask: what is read out is the end token, and padding comes after it.
    output = module.text_model(token_ids, None, positions, return_dict=True)
    return _unit_length(module.text_projection(output.pooler_output))


def _unit_length(embeddings: jax.Array) -> jax.Array:
    return embeddings / jnp.linalg.norm(embeddings, axis=-1, keepdims=True)


def _read_config(file: Path) -> CLIPConfig:
    raw = read_json(file)
    try:
        config = CLIPConfig(**raw)
    except Exception as error:  # transformers lets through whatever its checks raise
        raise UserError(f"{file}: not the config of a CLIP ({error}).") from error
    for name in ("text_config", "vision_config"):
        activation = getattr(config, name).hidden_act
        if activation not in _ACTIVATIONS:
            raise UserError(
                f"{file}: {name}.hidden_act={activation!r} is not supported (supported: "
                f"{' or '.join(_ACTIVATIONS)})."
            )
    if config.vision_config.num_channels != 3:
        raise UserError(
            f"{file}: vision_config.num_channels={config.vision_config.num_channels} is not "
            "supported, only 3: images are RGB."
        )
    return config


def _param_shapes(module: FlaxCLIPModule, file: Path) -> Params:
    side = module.config.vision_config.image_size
    tokens = jnp.zeros((1, 2), jnp.int32)
    try:
        return init_shapes(
            module, tokens, jnp.zeros((1, side, side, 3)), None, tokens, dtype=jnp.float32
        )
    except (ValueError, TypeError, ZeroDivisionError) as error:
        raise UserError(f"{file}: no CLIP can be built from it ({error}).") from error


def _tokenize(directory: Path, prompts: Sequence[str], *, config: CLIPConfig) -> np.ndarray:
    tokenizer = load_tokenizer(directory)
    text = config.text_config
    length = min(text.max_position_embeddings, tokenizer.model_max_length)
    try:
        ids = encode_prompts(tokenizer, prompts, length=length, vocabulary=text.vocab_size)
    except UserError as error:
        raise UserError(f"{directory}: {error}") from error
    # Without an end token the module would read out the first one, the same for every prompt.
    if text.eos_token_id != _LEGACY_EOS and not (ids == text.eos_token_id).any(axis=1).all():
        raise UserError(
            f"{directory}: the tokenizer ends prompts with token {tokenizer.eos_token_id}, but "
            f"config.json says text_config.eos_token_id={text.eos_token_id}. They are not of the "
            "same model."
        )
    return ids


def _size(value: int | Mapping[str, int]) -> int | tuple[int, int]:
    """A size as a number in old files, as {"shortest_edge"} or {"height", "width"} in new ones."""
    if not isinstance(value, Mapping):
        return int(value)
    if "shortest_edge" in value:
        return int(value["shortest_edge"])
    return int(value["height"]), int(value["width"])

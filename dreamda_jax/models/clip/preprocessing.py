"""What is done to an image before CLIP sees it, as transformers' (slow) CLIPImageProcessor does."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dreamda_jax.errors import UserError
from dreamda_jax.models.clip.files import ClipFiles
from dreamda_jax.models.weights.hub import read_json
from dreamda_jax.types import Image

# Of CLIPImageProcessor, where a checkpoint has no preprocessor_config.json.
OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)

_BICUBIC = 3  # Pillow's number


class Preprocessing(NamedTuple):
    """What is done to an image first, as CLIPImageProcessor does it on Pillow."""

    size: int | tuple[int, int]
    """Of the shorter side, the ratio being kept; or (height, width)."""
    crop: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


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
    """Resize, crop the centre and normalise, with Pillow's roundings.

    Args:
        images: uint8 [b, h, w, 3].
        preprocessing: see the class.

    Returns:
        float32 [b, crop, crop, 3].
    """
    return _preprocess(jnp.asarray(images, jnp.float32), preprocessing, _rounded)


def preprocess_smoothly(
    pixels: Float[Array, "b h w 3"], preprocessing: Preprocessing
) -> Float[Array, "b h w 3"]:
    """The same for pixels that need not be whole numbers, 0..255, without rounding.

    It has a gradient, where `preprocess` has none.
    """
    return _preprocess(pixels, preprocessing, lambda resized: resized)


def _preprocess(
    pixels: Float[Array, "b h w 3"],
    preprocessing: Preprocessing,
    after_resizing: Callable[[jax.Array], jax.Array],
) -> Float[Array, "b h w 3"]:
    batch, height, width, channels = pixels.shape
    if isinstance(preprocessing.size, tuple):
        new_height, new_width = preprocessing.size
    else:
        shorter = min(height, width)
        new_height = preprocessing.size * height // shorter
        new_width = preprocessing.size * width // shorter
    # Pillow resizes the rows, then the columns.
    for size in ((height, new_width), (new_height, new_width)):
        shape = (batch, *size, channels)
        pixels = after_resizing(jax.image.resize(pixels, shape, "bicubic", antialias=True))
    top, left = (new_height - preprocessing.crop) // 2, (new_width - preprocessing.crop) // 2
    pixels = pixels[:, top : top + preprocessing.crop, left : left + preprocessing.crop]
    mean, std = jnp.asarray(preprocessing.mean), jnp.asarray(preprocessing.std)
    return (pixels / 255.0 - mean) / std


def _rounded(resized: Float[Array, "b h w 3"]) -> Float[Array, "b h w 3"]:
    return jnp.clip(jnp.floor(resized + 0.5), 0, 255)  # halves go up, not to even


def _size(value: int | Mapping[str, int]) -> int | tuple[int, int]:
    """A size as a number in old files, as {"shortest_edge"} or {"height", "width"} in new ones."""
    if not isinstance(value, Mapping):
        return int(value)
    if "shortest_edge" in value:
        return int(value["shortest_edge"])
    return int(value["height"]), int(value["width"])

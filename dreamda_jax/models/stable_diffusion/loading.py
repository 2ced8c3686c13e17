"""From a checkpoint's files to a model and its parameters."""

import os
from typing import Any

import flax.traverse_util
import jax

from dreamda_jax.models.stable_diffusion.checkpoint_files import CheckpointFiles, find_checkpoint
from dreamda_jax.models.stable_diffusion.model import (
    StableDiffusion,
    abstract_params,
    from_configs,
)
from dreamda_jax.models.tokenizer import load_tokenizer
from dreamda_jax.models.weights.hub import read_json
from dreamda_jax.models.weights.load import Place, load_weights
from dreamda_jax.types import Params


def load(
    path: str | os.PathLike[str],
    *,
    revision: str | None = None,
    dtype: str = "float32",
    place: Place = jax.device_put,
) -> tuple[StableDiffusion, Params]:
    """Load a checkpoint in diffusers' layout.

    Args:
        path: a local directory, a hub id, or "sample" for the packaged tiny model.
        revision: branch, tag or commit on the hub.
        dtype: "float32", "bfloat16" or "float16", of parameters and activations.
        place: puts one parameter on the device(s), called tensor by tensor; see `weights`.

    Returns:
        The model and {"unet": ..., "vae": ..., "text_encoder": ...}.

    Raises:
        UserError: files are missing, damaged or pickled, weights do not fit the configs or are not
            finite, or the checkpoint has settings that are not supported.
    """
    files = find_checkpoint(path, revision=revision)
    model = open_model(files, dtype=dtype)
    return model, load_params(model, files, place=place)


def open_model(files: CheckpointFiles, *, dtype: str = "float32") -> StableDiffusion:
    """The networks of a checkpoint from its config files; no weight is read.

    Raises:
        UserError: a config cannot be read, or has a setting that is not supported.
    """
    return from_configs(
        unet_config=read_json(files.unet.config),
        vae_config=read_json(files.vae.config),
        text_config=read_json(files.text_encoder.config),
        scheduler_config=read_json(files.scheduler),
        tokenizer=load_tokenizer(files.tokenizer),
        dtype=dtype,
    )


def load_params(
    model: StableDiffusion, files: CheckpointFiles, *, place: Place = jax.device_put
) -> dict[str, Params]:
    """The weights of a checkpoint, placed tensor by tensor.

    Returns:
        {"unet": ..., "vae": ..., "text_encoder": ...}.

    Raises:
        UserError: weights are damaged or pickled, do not fit the model, or are not finite.
    """
    return {
        name: load_component(model, files, name, dtype=model.dtype, place=place)
        for name in abstract_params(model)
    }


def load_component(
    model: StableDiffusion,
    files: CheckpointFiles,
    name: str,
    *,
    dtype: Any,
    place: Place = jax.device_put,
) -> Params:
    """One network's weights: "unet", "vae" or "text_encoder", cast to `dtype`; see `load_params`.

    Raises:
        UserError: as `load_params`.
    """
    return load_weights(
        [getattr(files, name).weights],
        flax.traverse_util.flatten_dict(abstract_params(model)[name]),
        dtype=dtype,
        place=place,
    )

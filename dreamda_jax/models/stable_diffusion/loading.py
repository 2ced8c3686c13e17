"""From a checkpoint's files to a model and its parameters."""

import os
from collections.abc import Mapping
from typing import Any

import flax.traverse_util
import jax

from dreamda_jax.models.stable_diffusion.checkpoint_files import CheckpointFiles, find_checkpoint
from dreamda_jax.models.stable_diffusion.model import (
    StableDiffusion,
    abstract_params,
    from_configs,
)
from dreamda_jax.models.stable_diffusion.scheduler_config import Reading, as_in_a_pipeline
from dreamda_jax.models.tokenizer import load_tokenizer
from dreamda_jax.models.weights.hub import read_json
from dreamda_jax.models.weights.load import Place, check_weights, load_weights
from dreamda_jax.models.weights.names import Leeway
from dreamda_jax.types import Params

# transformers writes the text encoder without the prefix since 5.6; a checkpoint may hold the whole
# of the CLIP that it came from.
_CLIP_PARTS = ("text_projection.", "visual_projection.", "vision_model.", "logit_scale")
_LEEWAY = {"text_encoder": Leeway(prefix="text_model.", extras=_CLIP_PARTS)}


def load(
    path: str | os.PathLike[str],
    *,
    revision: str | None = None,
    dtype: str = "float32",
    variant: str | None = None,
    scheduler: Mapping[str, Any] | None = None,
    place: Place = jax.device_put,
) -> tuple[StableDiffusion, Params]:
    """Load a checkpoint in diffusers' layout.

    Args:
        path: a local directory, a hub id, or "sample" for the packaged tiny model.
        revision: branch, tag or commit on the hub.
        dtype: "float32", "bfloat16" or "float16", of parameters and activations; see
            `StableDiffusion.dtype_of`.
        variant: of the weights, such as "fp16"; see `checkpoint_files.find_checkpoint`.
        scheduler: as for `open_model`.
        place: puts one parameter on the device(s), called tensor by tensor; see `weights`.

    Returns:
        The model and {"unet": ..., "vae": ..., "text_encoder": ...}.

    Raises:
        UserError: files are missing, damaged or pickled, weights do not fit the configs or are not
            finite, or the checkpoint has settings that are not supported.
    """
    files = find_checkpoint(path, revision=revision, variant=variant)
    model = open_model(files, dtype=dtype, scheduler=scheduler)
    return model, load_params(model, files, place=place)


def open_model(
    files: CheckpointFiles, *, dtype: str = "float32", scheduler: Mapping[str, Any] | None = None
) -> StableDiffusion:
    """The networks of a checkpoint from its config files; no weight is read.

    Args:
        files: of the checkpoint.
        dtype: "float32" or "bfloat16", of parameters and activations.
        scheduler: fields of the noise schedule that are to be other than in its file, by the names
            of `Scheduler`.

    Raises:
        UserError: a config cannot be read, or has a setting that is not supported.
    """
    return from_configs(
        unet_config=read_json(files.unet.config),
        vae_config=read_json(files.vae.config),
        text_config=read_json(files.text_encoder.config),
        scheduler_config=_read_scheduler(files, scheduler).config,
        tokenizer=load_tokenizer(files.tokenizer),
        dtype=dtype,
    )


def notes_of(files: CheckpointFiles, scheduler: Mapping[str, Any] | None = None) -> list[str]:
    """What a person should hear of a checkpoint: what was chosen, and what is not as it says.

    Args:
        files: of the checkpoint.
        scheduler: as for `open_model`.

    Raises:
        UserError: the scheduler's config cannot be read.
    """
    schedule = [f"scheduler {note}" for note in _read_scheduler(files, scheduler).notes]
    return [*(f"weights   {note}" for note in files.notes), *schedule]


def _read_scheduler(files: CheckpointFiles, given: Mapping[str, Any] | None) -> Reading:
    return as_in_a_pipeline(read_json(files.scheduler), given)


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
        name: load_component(model, files, name, dtype=model.dtype_of(name), place=place)
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
        leeway=_LEEWAY.get(name, Leeway()),
    )


def check_params(model: StableDiffusion, files: CheckpointFiles) -> None:
    """Check that a checkpoint's weights are those of its configs, without loading them.

    Raises:
        UserError: as `load_params`, but for numbers that are not finite.
    """
    for name, expected in abstract_params(model).items():
        check_weights(
            [getattr(files, name).weights],
            flax.traverse_util.flatten_dict(expected),
            leeway=_LEEWAY.get(name, Leeway()),
        )

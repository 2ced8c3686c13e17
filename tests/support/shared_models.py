"""One `StableDiffusion` for all checkpoints of the same configuration.

A model is compared by identity, so every one has its parameters' shapes and its cost traced anew.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from dreamda_jax.models.stable_diffusion import loading
from dreamda_jax.models.stable_diffusion.checkpoint_files import CheckpointFiles
from dreamda_jax.models.stable_diffusion.model import StableDiffusion

_MADE: dict[tuple[str | bytes, ...], StableDiffusion] = {}
_open_model = loading.open_model


@contextlib.contextmanager
def models_are_shared() -> Iterator[None]:
    """`loading.open_model` gives the model that it made of the same files before."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "open_model", _shared)
        yield


def _shared(
    files: CheckpointFiles, *, dtype: str = "float32", scheduler: Mapping[str, Any] | None = None
) -> StableDiffusion:
    configs = [part.config for part in (files.unet, files.vae, files.text_encoder)]
    tokenizer = sorted(file for file in files.tokenizer.iterdir() if file.is_file())
    contents = [file.read_bytes() for file in (*configs, files.scheduler, *tokenizer)]
    key = (dtype, repr(scheduler or {}), *(file.name for file in tokenizer), *contents)
    if key not in _MADE:
        _MADE[key] = _open_model(files, dtype=dtype, scheduler=scheduler)
    return _MADE[key]

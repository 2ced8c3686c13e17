"""Writes a checkpoint in diffusers' layout that this package and PyTorch diffusers load.

What was not changed is copied byte for byte; changed weights become float32 safetensors under
PyTorch's names. Every file appears whole or not at all, `model_index.json` last.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flax.traverse_util
import numpy as np
from safetensors.numpy import save_file

from dreamda_jax.data.files import atomic
from dreamda_jax.models.stable_diffusion import tokenizer_files
from dreamda_jax.models.stable_diffusion.checkpoint_files import CheckpointFiles
from dreamda_jax.models.weights.hub import read_json
from dreamda_jax.models.weights.names import plain
from dreamda_jax.models.weights.safetensors_file import list_tensors, sort_metadata
from dreamda_jax.models.weights.shards import shard_files
from dreamda_jax.models.weights.torch_layout import to_torch
from dreamda_jax.types import Params

NETWORKS = ("unet", "vae", "text_encoder")
_WEIGHTS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model"}
_TEXT_WEIGHTS = "model"
_INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.37.0",
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
# Networks that are not copied: a pipeline that asks for them could not be loaded.
_WITHOUT = {
    "safety_checker": [None, None],
    "feature_extractor": [None, None],
    "image_encoder": [None, None],
    "requires_safety_checker": False,
}


def write_checkpoint(
    directory: Path,
    files: CheckpointFiles,
    *,
    changed: Mapping[str, Params],
    load: Callable[[str], Params],
    text_config: Mapping[str, Any] | None = None,
    tokenizer: Any = None,
    scheduler: Mapping[str, Any] | None = None,
) -> None:
    """Writes a checkpoint that differs from another one in some of its networks.

    Args:
      directory: what is in it stays, but for files of the same names.
      files: of the checkpoint that the rest is taken from.
      changed: networks' parameters by name, numpy.
      load: `load(name)` reads a network of `files` as float32 numpy; called for those stored in a
        format, or under names, that not every PyTorch diffusers and transformers reads.
      text_config: the text encoder's config.json where it changed.
      tokenizer: the tokenizer where it changed.
      scheduler: fields of the scheduler's config that changed.

    Raises:
      UserError: the disk is full.
    """
    with atomic.disk_full_is_a_user_error(directory, needed=sum(_sizes(files))):
        for name in NETWORKS:
            source = getattr(files, name)
            target = directory / name
            target.mkdir(parents=True, exist_ok=True)
            content = source.config.read_bytes()
            if name == "text_encoder" and text_config is not None:
                content = atomic.to_json(dict(text_config))
            atomic.write_atomically(target / "config.json", content)
            if name in changed:
                write_network(target / _file(name, ".safetensors"), changed[name])
            elif not _is_read_everywhere(source.weights, name):
                write_network(target / _file(name, ".safetensors"), load(name))
            else:
                _copy_weights(source.weights, target, name)
        target = directory / "scheduler" / files.scheduler.name
        if scheduler:
            target.parent.mkdir(parents=True, exist_ok=True)
            atomic.write_atomically(
                target, atomic.to_json({**read_json(files.scheduler), **scheduler})
            )
        else:
            _copy(files.scheduler, target)
        for name, content in tokenizer_files.contents(files.tokenizer, tokenizer).items():
            target = directory / "tokenizer" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                _copy(content, target)
            else:
                atomic.write_atomically(target, content)
        atomic.write_atomically(directory / "model_index.json", _index(files))


def write_network(file: Path, params: Params) -> None:
    """Nested Flax parameters (numpy) as a safetensors file under PyTorch's names."""
    write_tensors(file, to_torch(flax.traverse_util.flatten_dict(params)))


def write_tensors(
    file: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> None:
    """A safetensors file; `metadata` comes beside PyTorch's own mark."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic.temporary(file) as scratch:
        scratch.touch()
        mode = scratch.stat().st_mode  # safetensors' own is for the owner only
        save_file(dict(tensors), scratch, metadata={"format": "pt", **(metadata or {})})
        sort_metadata(scratch)
        scratch.chmod(mode)
        atomic.replace_durably(scratch, file)


def _is_read_everywhere(weights: Path, name: str) -> bool:
    """Whether PyTorch loads a file as it is: transformers before 5.6 wants the prefix."""
    if weights.suffix == ".msgpack":
        return False
    names = [tensor.name for shard in shard_files(weights) for tensor in list_tensors(shard)]
    if any(plain(each) != each for each in names):
        return False
    return name != "text_encoder" or any(each.startswith("text_model.") for each in names)


def _copy_weights(weights: Path, target: Path, name: str) -> None:
    """Under the name without a variant ("fp16"), which PyTorch diffusers would have to be told."""
    ending = ".safetensors.index.json" if weights.suffix == ".json" else ".safetensors"
    if weights.suffix == ".json":
        for shard in shard_files(weights):
            _copy(shard, target / shard.name)
    _copy(weights, target / _file(name, ending))


def _file(name: str, ending: str) -> str:
    return _WEIGHTS.get(name, _TEXT_WEIGHTS) + ending


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic.temporary(target) as scratch:
        shutil.copyfile(source, scratch)  # of a link (the hub's cache) the file it names
        atomic.replace_durably(scratch, target)


def _index(files: CheckpointFiles) -> bytes:
    known: dict[str, Any] = dict(_INDEX)
    original = files.directory / "model_index.json"
    if original.exists():
        known |= read_json(original)
    else:
        scheduler = read_json(files.scheduler).get("_class_name")
        known["scheduler"] = ["diffusers", scheduler or "DDIMScheduler"]
    return (json.dumps({**known, **_WITHOUT}, indent=2) + "\n").encode()


def _sizes(files: CheckpointFiles) -> list[int]:
    parts = (getattr(files, name).weights for name in NETWORKS)
    return [shard.stat().st_size for part in parts for shard in shard_files(part)]

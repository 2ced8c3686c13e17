"""Weights of classifiers: load pretrained ones, save trained ones, open what was saved. No torch.

On disk a state dict has torchvision's names and PyTorch's layout (see `Architecture.tensor_name`)
and lies in a safetensors file. A saved classifier is a directory of `model.safetensors` and
`config.json`.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from dreamda_jax.data.files import atomic, staging
from dreamda_jax.errors import UserError
from dreamda_jax.models.classifiers import resnet_tiny
from dreamda_jax.models.classifiers.registry import Architecture, StateDict, find_architecture
from dreamda_jax.models.classifiers.weight_files import CONFIG, WEIGHTS, find_weights
from dreamda_jax.models.weights.hub import read_json
from dreamda_jax.models.weights.load import Place, flax_axes, read_tensor
from dreamda_jax.models.weights.names import some
from dreamda_jax.models.weights.safetensors_file import list_tensors
from dreamda_jax.models.weights.torch_layout import misfits, torch_axes, torch_shape

# Counters and constants that PyTorch stores beside the weights.
_BUFFER = re.compile(
    r"(^|\.)(num_batches_tracked|relative_position_index|relative_coords_table|attn_mask)$"
)


class Loaded(NamedTuple):
    """Pretrained variables."""

    variables: dict[str, Any]
    """{"params": ..., "batch_stats": ...}, float32; the latter only where there is BatchNorm."""
    head_replaced: str | None
    """Why the head is not the file's but the initial one, for the log; None if it is the file's."""
    is_renamed: bool
    """Whether the file has timm's names, of an architecture that has others here."""


class ClassifierConfig(NamedTuple):
    """What beside the weights makes a classifier; the contents of its config.json."""

    architecture: str
    stem: str
    label_names: tuple[str, ...]
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def load(
    architecture: Architecture,
    variables: Mapping[str, Any],
    weights: str | os.PathLike[str],
    *,
    revision: str | None = None,
    place: Place = jax.device_put,
) -> Loaded:
    """Load pretrained weights; a head for other classes stays as it was initialised.

    Args:
        architecture: what `variables` belong to.
        variables: freshly initialised. Or their shapes (`jax.ShapeDtypeStruct`), where the head has
            to fit.
        weights: a `.safetensors` file, a directory that holds `model.safetensors`, or a hub id such
            as "timm/resnet50.tv_in1k". Names are torchvision's or timm's.
        revision: branch, tag or commit on the hub; ignored for files.
        place: puts one array on the device(s).

    Raises:
        UserError: the weights are those of another architecture or stem, hold NaN or Inf, are
            damaged, quantised, pickled or not there, or the hub cannot be reached.
    """
    file = find_weights(weights, revision=revision)
    found = _read_state_dict(file)
    stored = architecture.to_usual_names(found)
    flat = flax.traverse_util.flatten_dict(variables)
    names = {architecture.tensor_name(path): path for path in flat}
    shapes = {name: torch_shape(path[-1], flat[path].shape) for name, path in names.items()}

    head = [f"{architecture.head}.{leaf}" for leaf in ("weight", "bias")]
    head_replaced = None
    if not isinstance(flat[names[head[0]]], jax.ShapeDtypeStruct):
        head_replaced = _why_head_is_replaced(head, stored, shapes)
    kept = head if head_replaced else []
    problems = misfits(
        {name: array.shape for name, array in stored.items() if name not in kept},
        {name: shape for name, shape in shapes.items() if name not in kept},
    )
    if problems:
        raise UserError(
            f"{file}: not the weights of {architecture.name}{_said_beside(file)}. {problems}."
        )
    loaded = {}
    for name, path in names.items():
        if name in kept:
            array = np.asarray(flat[path])
        else:
            array = stored[name].transpose(flax_axes(path[-1], stored[name].ndim))
        loaded[path] = place(np.ascontiguousarray(array))
    return Loaded(
        flax.traverse_util.unflatten_dict(loaded), head_replaced, stored.keys() != found.keys()
    )


def save(
    architecture: Architecture,
    variables: Mapping[str, Any],
    directory: str | os.PathLike[str],
    *,
    label_names: Sequence[str],
    image_size: int,
    stem: str,
) -> None:
    """Save a classifier, for `open_classifier` and for PyTorch.

    `load_state_dict(safetensors.torch.load_file("model.safetensors"))` of the PyTorch model takes
    the file; Swin V2 needs `strict=False`, because two constants of each block are left out. An
    older classifier in the directory is overwritten.

    Args:
        architecture: what `variables` belong to.
        variables: {"params": ..., "batch_stats": ...}.
        directory: made if it does not exist.
        label_names: the classes, in the order of the head's outputs.
        image_size: side of the images it was trained on, in pixels.
        stem: "imagenet" or "small".

    Raises:
        ValueError: not as many labels as outputs.
        UserError: the disk is full.
    """
    tensors = {}
    for path, leaf in flax.traverse_util.flatten_dict(variables).items():
        axes = torch_axes(path[-1], leaf.ndim)
        array = np.asarray(leaf, np.float32).transpose(axes)
        tensors[architecture.tensor_name(path)] = np.ascontiguousarray(array)
    outputs = len(tensors[f"{architecture.head}.bias"])
    if outputs != len(label_names):
        raise ValueError(f"{len(label_names)} label names for {outputs} outputs")
    config = ClassifierConfig(
        architecture=architecture.name,
        stem=stem,
        label_names=tuple(label_names),
        image_size=image_size,
        mean=architecture.mean,
        std=architecture.std,
    )
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    atomic.remove_leftovers(directory)
    data = safetensors.numpy.save(tensors, metadata={"format": "pt"})
    with atomic.disk_full_is_a_user_error(directory, needed=len(data)):
        # Old labels must not stand beside new weights, so the config goes first and comes last.
        (directory / CONFIG).unlink(missing_ok=True)
        atomic.write_atomically(directory / WEIGHTS, data)
        atomic.write_atomically(directory / CONFIG, atomic.to_json(config._asdict()))


def open_classifier(
    directory: str | os.PathLike[str], *, dtype: Any = jnp.float32, place: Place = jax.device_put
) -> tuple[nn.Module, dict[str, Any], ClassifierConfig]:
    """Open a directory that `save` made, or the packaged oracle (transformers' layout).

    Args:
        directory: holds `config.json` and `model.safetensors`.
        dtype: of the computation, float32 or bfloat16.
        place: puts one array on the device(s).

    Returns:
        The module, its variables, and its config with labels and input normalisation.

    Raises:
        UserError: files are missing or damaged, or do not belong together.
    """
    directory = staging.local(directory)
    config = _read_config(directory / CONFIG)
    architecture = find_architecture(config.architecture)
    module = architecture.build(len(config.label_names), dtype, config.stem)
    images = jax.ShapeDtypeStruct((1, config.image_size, config.image_size, 3), jnp.float32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), images)
    return module, load(architecture, shapes, directory, place=place).variables, config


def _read_state_dict(file: Path) -> StateDict:
    # In the file's layout (leaf ""): which variable a tensor becomes is known once it is renamed.
    return {
        tensor.name: read_tensor(tensor, leaf="", shape=tensor.shape, dtype=np.float32)
        for tensor in list_tensors(file)
        if not _BUFFER.search(tensor.name)
    }


def _why_head_is_replaced(
    head: Sequence[str], stored: StateDict, shapes: Mapping[str, tuple[int, ...]]
) -> str | None:
    if not any(name in stored for name in head):
        return "the file has no head: it starts from random weights"
    if not all(name in stored for name in head):
        return None
    found, want = stored[head[0]].shape, shapes[head[0]]
    if found[0] == want[0] or found[1:] != want[1:]:
        return None
    classes = f"the file's head has {found[0]} classes, this one {want[0]}"
    return f"{classes}: it starts from random weights"


def _said_beside(file: Path) -> str:
    """What the config of a saved classifier says its weights are; nothing where there is none."""
    try:
        config = _read_config(file.parent / CONFIG)
    except UserError:
        return " with this stem"
    return f" with this stem, but of {config.architecture} with stem {config.stem!r}"


def _read_config(file: Path) -> ClassifierConfig:
    if not file.is_file():
        raise UserError(
            f"{file.parent}: not a complete classifier, it lacks {CONFIG}. A saved classifier is a "
            f"directory of {CONFIG} and {WEIGHTS}."
        )
    raw = read_json(file)
    try:
        if "model_type" in raw:
            return _from_transformers(file, raw)
        return ClassifierConfig(
            architecture=str(raw["architecture"]),
            stem=str(raw["stem"]),
            label_names=tuple(map(str, raw["label_names"])),
            image_size=int(raw["image_size"]),
            mean=_three(raw["mean"]),
            std=_three(raw["std"]),
        )
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{file}: not the config of a classifier ({error!r}).") from error


def _three(numbers: Sequence[Any]) -> tuple[float, float, float]:
    red, green, blue = map(float, numbers)
    return red, green, blue


def _from_transformers(file: Path, raw: Mapping[str, Any]) -> ClassifierConfig:
    different = resnet_tiny.differences(raw)
    if different:
        raise UserError(
            f"{file}: of transformers' models only the packaged oracle's architecture can be "
            f"opened; here {some([f'{name} is {value!r}' for name, value in different.items()])}."
        )
    tiny = find_architecture("resnet_tiny")
    names = {int(number): str(name) for number, name in raw["id2label"].items()}
    return ClassifierConfig(
        architecture=tiny.name,
        stem="imagenet",
        label_names=tuple(names[number] for number in range(len(names))),
        image_size=tiny.image_size,
        mean=tiny.mean,
        std=tiny.std,
    )

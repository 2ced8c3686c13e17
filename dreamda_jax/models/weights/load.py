"""Pretrained weights to Flax parameters: safetensors (PyTorch names) or Flax msgpack, no torch.

One tensor at a time: a tensor is read, checked, brought to Flax layout and to the wanted dtype and
placed on the device before the next is read, so beside the parameters there is never more than one
extra copy of a single tensor (msgpack: one, and the record it was decoded from).

PyTorch and Flax names are compared in one canonical spelling, so the rules stay generic:
`down_blocks.0.attentions.0` and `down_blocks_0/attentions_0`, CLIP's `layers.0` and `layers/0`;
`weight` and `kernel`, `scale`, `embedding`; the VAE's attention under its old names (`query`,
`key`, `value`, `proj_attn`) and its new ones (`to_q`, `to_k`, `to_v`, `to_out.0`).
"""

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.traverse_util
import jax
import numpy as np

from dreamda_jax.data.files import json_text
from dreamda_jax.data.files.regular import check_regular
from dreamda_jax.errors import UserError
from dreamda_jax.models.weights.msgpack_weights import read_msgpack
from dreamda_jax.models.weights.safetensors_file import FLOATS, StoredTensor, list_tensors
from dreamda_jax.types import Params

Expected = Mapping[tuple[str, ...], jax.ShapeDtypeStruct]
Place = Callable[[np.ndarray], jax.Array]

PICKLED_SUFFIXES = (".bin", ".ckpt", ".pt", ".pth")

_STRIP = 32
_PIECE = 1 << 20
_IGNORED = re.compile(r"(^|\.)position_ids$")  # a buffer of old CLIP checkpoints, not a weight
_INDEX = re.compile(r"_(\d+)(?=\.|$)")
_LEAVES = {"kernel": "weight", "scale": "weight", "embedding": "weight"}
_VAE_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def load_weights(
    files: Sequence[Path], expected: Expected, *, dtype: Any, place: Place = jax.device_put
) -> Params:
    """Load one component's parameters.

    Args:
        files: one `.safetensors` file, its shards, a `*.safetensors.index*.json`, or one `.msgpack`
            file in Flax layout.
        expected: for each parameter its Flax path, for example ("conv_in", "kernel"), and its
            shape; see `model.abstract_params`.
        dtype: what the parameters are cast to: float32, bfloat16 or float16. Files may hold those
            and float64.
        place: puts one array on the device(s); called once per tensor, as soon as it is converted.

    Returns:
        A nested dict of the arrays that `place` returned.

    Raises:
        UserError: a tensor of the wrong shape, missing or unexpected tensors, two for one
            parameter, NaN or Inf among the weights (after the cast too), a damaged file, something
            that is no ordinary file, quantised or pickled weights.
    """
    files = [shard for file in files for shard in shard_files(file)]
    for file in files:
        if file.suffix in PICKLED_SUFFIXES:
            raise pickled_weights(file)
    if len(files) == 1 and files[0].suffix == ".msgpack":
        return _load_msgpack(files[0], expected, dtype=dtype, place=place)
    return _load_safetensors(files, expected, dtype=dtype, place=place)


def shard_files(file: Path) -> list[Path]:
    """List the files behind a `*.safetensors.index*.json`; any other file stands for itself.

    Raises:
        UserError: the index cannot be read, or a shard that it names is not there.
    """
    if file.suffix != ".json":
        return [file]
    try:
        index = json_text.parse(check_regular(file).read_text())
        names = sorted(set(index["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file}: not a safetensors index ({error!r}).") from error
    outside = [name for name in names if Path(str(name)).name != name]
    if outside:
        raise UserError(f"{file}: names files that are not beside it: {some(outside)}.")
    shards = [file.parent / str(name) for name in names]
    absent = [shard.name for shard in shards if not check_regular(shard).is_file()]
    if absent:
        raise UserError(
            f"{file}: {len(absent)} of the {len(shards)} files it names are missing: "
            f"{some(absent)}. Download them into {file.parent}."
        )
    return shards


def pickled_weights(file: Path) -> UserError:
    """Build the error that refuses pickled weights and says how to convert them."""
    directory = file.parent.parent if file.parent.name else file.parent
    loader = (
        f'from_pretrained("{directory}", safety_checker=None)'
        if file.suffix == ".bin"
        else f'from_single_file("{file}")'
    )
    return UserError(
        f"{file}: pickled weights are refused, because unpickling runs code from the file. "
        "Convert the checkpoint once, in an environment with torch and diffusers:\n"
        "    from diffusers import StableDiffusionPipeline\n"
        f"    pipeline = StableDiffusionPipeline.{loader}\n"
        '    pipeline.save_pretrained("converted", safe_serialization=True)\n'
        "and use the new directory: --config.model.path=converted"
    )


def _load_safetensors(
    files: Sequence[Path], expected: Expected, *, dtype: Any, place: Place
) -> Params:
    wanted = {_canonical(".".join(path)): path for path in expected}
    if len(wanted) != len(expected):
        raise ValueError("two expected parameters share one canonical name")
    loaded: dict[tuple[str, ...], jax.Array] = {}
    found: dict[tuple[str, ...], str] = {}
    unexpected: list[str] = []
    for tensor in itertools.chain.from_iterable(map(list_tensors, files)):
        path = wanted.get(_canonical(tensor.name))
        if path is not None:
            # No reference to the raw tensor is kept while the converted one is placed.
            if path in found:
                raise UserError(
                    f"{tensor.file}: {found[path]} and {tensor.name} are names of one parameter, "
                    f"{'/'.join(path)}. Which of the two is meant cannot be known."
                )
            found[path] = tensor.name
            array = read_tensor(tensor, leaf=path[-1], shape=expected[path].shape, dtype=dtype)
            loaded[path] = _place(array, place=place)
            del array
        elif not _IGNORED.search(tensor.name):
            unexpected.append(tensor.name)
    _check_names(files[0], expected, loaded, unexpected)
    return flax.traverse_util.unflatten_dict(loaded)


def read_tensor(
    tensor: StoredTensor, *, leaf: str, shape: tuple[int, ...], dtype: Any
) -> np.ndarray:
    """Read one tensor in Flax layout and the wanted dtype; what it should be is checked first.

    Args:
        tensor: where it lies.
        leaf: last part of its Flax path; a "kernel" is stored transposed, anything else as it is.
        shape: the shape in Flax layout.
        dtype: what it is cast to.

    Raises:
        UserError: stored as no float, of another shape, or not finite.
    """
    what = f"{tensor.file}: tensor {tensor.name}"
    if tensor.dtype not in FLOATS:
        raise UserError(_no_float(what, tensor.dtype))
    axes, reshaped = _to_flax_layout(leaf, tensor.shape, len(shape))
    if tuple(reshaped[axis] for axis in axes) != shape:
        same_rank = len(axes) == len(shape)
        want = tuple(shape[axes.index(axis)] for axis in range(len(axes))) if same_rank else shape
        raise UserError(_wrong_shape(what, tensor.shape, want))
    array = _convert(tensor.read().reshape(reshaped).transpose(axes), dtype=dtype)
    if not _is_finite(array):
        raise UserError(_not_finite(what))
    return array


def flax_axes(leaf: str, rank: int) -> tuple[int, ...]:
    """The transposition of a PyTorch tensor to Flax layout.

    Linear [o, i] -> [i, o] and convolution [o, i, h, w] -> [h, w, i, o].
    """
    kernels = {2: (1, 0), 4: (2, 3, 1, 0)}
    return kernels[rank] if leaf == "kernel" and rank in kernels else tuple(range(rank))


def _to_flax_layout(
    leaf: str, found: tuple[int, ...], rank: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return (axes, shape): reshape a PyTorch tensor to `shape`, then transpose it by `axes`.

    A 1x1 convolution and a linear layer hold the same numbers; old VAEs store the one and SD 2.x
    the other.
    """
    if leaf == "kernel" and rank == 4 and len(found) == 2:
        found = (*found, 1, 1)
    if leaf == "kernel" and rank == 2 and len(found) == 4 and found[2:] == (1, 1):
        found = found[:2]
    return (flax_axes(leaf, rank) if len(found) == rank else tuple(range(len(found)))), found


class _MsgpackLeaf(NamedTuple):
    array: jax.Array | None
    shape: tuple[int, ...]
    dtype: np.dtype


def _load_msgpack(file: Path, expected: Expected, *, dtype: Any, place: Place) -> Params:
    def convert(array: np.ndarray) -> _MsgpackLeaf:
        # A name is known only once the file is decoded, so what is refused leaves a None.
        placed = None
        if array.dtype in FLOATS.values():
            converted = _convert(array, dtype=dtype)
            placed = _place(converted, place=place) if _is_finite(converted) else None
        return _MsgpackLeaf(array=placed, shape=array.shape, dtype=array.dtype)

    leaves = flax.traverse_util.flatten_dict(read_msgpack(file, convert))
    unexpected = ["/".join(map(str, path)) for path in leaves if path not in expected]
    _check_names(file, expected, leaves, unexpected)
    for path, leaf in leaves.items():
        name = f"{file}: tensor {'/'.join(path)}"
        if not isinstance(leaf, _MsgpackLeaf):
            raise UserError(f"{name} is no array. Weights of a network are needed.")
        if leaf.dtype not in FLOATS.values():
            raise UserError(_no_float(name, leaf.dtype.name))
        if leaf.array is None:
            raise UserError(_not_finite(name))
        if leaf.shape != expected[path].shape:
            raise UserError(_wrong_shape(name, leaf.shape, expected[path].shape))
    return flax.traverse_util.unflatten_dict({path: leaf.array for path, leaf in leaves.items()})


def _convert(array: np.ndarray, *, dtype: Any) -> np.ndarray:
    """Cast and lay out contiguously in one pass; no copy where there is nothing to do."""
    if array.flags.c_contiguous or array.ndim < 4:
        return array.astype(dtype, order="C", copy=False)
    # Convolutions are transposed by narrow strips of the last axis: the source of a strip stays in
    # the cache, which makes loading a large U-Net twice as fast.
    converted = np.empty(array.shape, dtype)
    for start in range(0, array.shape[-1], _STRIP):
        converted[..., start : start + _STRIP] = array[..., start : start + _STRIP]
    return converted


def _is_finite(array: np.ndarray) -> bool:
    flat = array.reshape(-1)
    # By pieces, so that the booleans are never as many as the weights.
    pieces = (flat[start : start + _PIECE] for start in range(0, flat.size, _PIECE))
    return all(bool(np.isfinite(piece).all()) for piece in pieces)


def _place(array: np.ndarray, *, place: Place) -> jax.Array:
    # Transfers are asynchronous: without waiting, many source arrays would be alive at once.
    return jax.block_until_ready(place(array))


def _canonical(name: str) -> str:
    *modules, leaf = _INDEX.sub(r".\1", name).split(".")
    if modules:
        modules[-1] = _VAE_ATTENTION.get(modules[-1], modules[-1])
    return ".".join([*modules, _LEAVES.get(leaf, leaf)])


def _check_names(
    file: Path, expected: Expected, loaded: Mapping, unexpected: Sequence[str]
) -> None:
    missing = ["/".join(path) for path in expected if path not in loaded]
    problems = []
    if missing:
        problems.append(f"{len(missing)} of {len(expected)} tensors are missing: {some(missing)}")
    if unexpected:
        problems.append(f"{len(unexpected)} tensors are unexpected: {some(unexpected)}")
    if problems:
        raise UserError(
            f"{file}: {'; '.join(problems)}. Weights and config.json are not of the same model."
        )


def some(names: Sequence[str], limit: int = 4) -> str:
    """The first few names, for a message."""
    return ", ".join(names[:limit]) + (", …" if len(names) > limit else "")


def _wrong_shape(what: str, found: tuple[int, ...], want: tuple[int, ...]) -> str:
    return (
        f"{what} has shape {found}, but the configuration beside it asks for {want}. Weights and "
        "config.json are not of the same model."
    )


def _no_float(what: str, dtype: str) -> str:
    return (
        f"{what} is stored as {dtype}; quantised checkpoints are not supported, only float32, "
        "float16 and bfloat16."
    )


def _not_finite(what: str) -> str:
    return f"{what} holds NaN or Inf. The checkpoint is damaged or its training diverged."

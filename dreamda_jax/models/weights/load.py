"""Pretrained weights to Flax parameters: safetensors (PyTorch names) or Flax msgpack, no torch.

One tensor at a time: a tensor is read, checked, brought to Flax layout and to the wanted dtype and
placed on the device before the next is read, so beside the parameters there is never more than one
extra copy of a single tensor (msgpack: one, and the record it was decoded from).

Names are compared as `names` spells them. Names and shapes of a whole file are looked at before
the first tensor is read; `check_weights` does nothing else.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.traverse_util
import jax
import numpy as np

from dreamda_jax.errors import UserError
from dreamda_jax.models.weights.msgpack_weights import read_msgpack
from dreamda_jax.models.weights.names import Leeway, Matcher, some
from dreamda_jax.models.weights.safetensors_file import FLOATS, StoredTensor, list_tensors
from dreamda_jax.models.weights.shards import weight_files
from dreamda_jax.types import Params

Expected = Mapping[tuple[str, ...], jax.ShapeDtypeStruct]
Place = Callable[[np.ndarray], jax.Array]

_STRIP = 32
_PIECE = 1 << 20
_EXACTLY = Leeway()


def load_weights(
    files: Sequence[Path],
    expected: Expected,
    *,
    dtype: Any,
    place: Place = jax.device_put,
    leeway: Leeway = _EXACTLY,
) -> Params:
    """Load one component's parameters.

    Args:
        files: one `.safetensors` file, its shards, a `*.safetensors.index*.json`, or one `.msgpack`
            file in Flax layout.
        expected: for each parameter its Flax path, for example ("conv_in", "kernel"), and its
            shape; see `model.abstract_params`.
        dtype: what the parameters are cast to, float32, bfloat16 or float16. Files may hold
            float64, 32, 16 or bfloat16.
        place: puts one array on the device(s); called once per tensor, as soon as it is converted.
        leeway: how the file's names may differ from the parameters'. Names that wrappers of a
            network changed (torch.compile, DistributedDataParallel, peft) are read in any case.

    Returns:
        A nested dict of the arrays that `place` returned.

    Raises:
        UserError: a tensor of the wrong shape, missing or unexpected tensors, two for one
            parameter, NaN or Inf among the weights (after the cast too), a damaged file, something
            that is no ordinary file, quantised or pickled weights.
    """
    files = weight_files(files)
    if files[0].suffix == ".msgpack":

        def convert(array: np.ndarray) -> jax.Array | None:
            converted = _convert(array, dtype=dtype)
            return _place(converted, place=place) if _is_finite(converted) else None

        return _load_msgpack(files[0], expected, convert, leeway)
    loaded = {}
    for path, tensor in _match(files, expected, leeway).items():
        # No reference to the raw tensor is kept while the converted one is placed.
        array = read_tensor(tensor, leaf=path[-1], shape=expected[path].shape, dtype=dtype)
        loaded[path] = _place(array, place=place)
        del array
    return flax.traverse_util.unflatten_dict(loaded)


def check_weights(files: Sequence[Path], expected: Expected, *, leeway: Leeway = _EXACTLY) -> None:
    """Check that files hold the parameters, by names, shapes and kinds of numbers; none is loaded.

    Args:
        files: see `load_weights`; likewise expected and leeway. Of safetensors the headers are
            read, a msgpack file as a whole.
        expected: for each parameter its Flax path and its shape.
        leeway: how the file's names may differ from the parameters'.

    Raises:
        UserError: as `load_weights`, but for what the numbers themselves are.
    """
    files = weight_files(files)
    if files[0].suffix == ".msgpack":
        _load_msgpack(files[0], expected, lambda array: array.dtype, leeway)
        return
    _match(files, expected, leeway)


def _match(
    files: Sequence[Path], expected: Expected, leeway: Leeway
) -> dict[tuple[str, ...], StoredTensor]:
    """The tensor of every parameter, in the order of the files; each fits."""
    matcher = Matcher(expected, leeway)
    found: dict[tuple[str, ...], StoredTensor] = {}
    unexpected: list[str] = []
    for tensor in itertools.chain.from_iterable(map(list_tensors, files)):
        path = matcher.find(tensor.name)
        if path in found:
            raise UserError(
                f"{tensor.file}: {found[path].name} and {tensor.name} are names of one parameter, "
                f"{'/'.join(path)}. Which of the two is meant cannot be known."
            )
        if path is not None:
            found[path] = tensor
        elif not matcher.ignores(tensor.name):
            unexpected.append(tensor.name)
    _check_names(files[0], expected, found, unexpected)
    for path, tensor in found.items():
        _layout(tensor, leaf=path[-1], shape=expected[path].shape)
    return found


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
    axes, reshaped = _layout(tensor, leaf=leaf, shape=shape)
    array = _convert(tensor.read().reshape(reshaped).transpose(axes), dtype=dtype)
    if not _is_finite(array):
        raise UserError(_not_finite(f"{tensor.file}: tensor {tensor.name}"))
    return array


def _layout(
    tensor: StoredTensor, *, leaf: str, shape: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What `_to_flax_layout` returns; a tensor that is no float or does not fit is refused."""
    what = f"{tensor.file}: tensor {tensor.name}"
    if tensor.dtype not in FLOATS:
        raise UserError(_no_float(what, tensor.dtype))
    axes, reshaped = _to_flax_layout(leaf, tensor.shape, len(shape))
    if tuple(reshaped[axis] for axis in axes) != shape:
        same_rank = len(axes) == len(shape)
        want = tuple(shape[axes.index(axis)] for axis in range(len(axes))) if same_rank else shape
        raise UserError(_wrong_shape(what, tensor.shape, want))
    return axes, reshaped


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
    array: Any
    shape: tuple[int, ...]
    dtype: np.dtype


def _load_msgpack(
    file: Path, expected: Expected, convert: Callable[[np.ndarray], Any], leeway: Leeway
) -> Params:
    """`convert(array)` of every parameter; a None stands for numbers that are not finite."""

    def take(array: np.ndarray) -> _MsgpackLeaf:
        # A name is known only once the file is decoded, so what is refused leaves a None.
        converted = convert(array) if array.dtype in FLOATS.values() else None
        return _MsgpackLeaf(array=converted, shape=array.shape, dtype=array.dtype)

    leaves = flax.traverse_util.flatten_dict(read_msgpack(file, take))
    others = [path for path in leaves if path not in expected]
    unexpected = [path for path in others if not leeway.allows(".".join(map(str, path)))]
    _check_names(file, expected, leaves, ["/".join(map(str, path)) for path in unexpected])
    leaves = {path: leaf for path, leaf in leaves.items() if path in expected}
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

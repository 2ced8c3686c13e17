"""Flax msgpack files, one array at a time.

`flax.serialization.msgpack_restore` holds the file's bytes and every array of it at once. Here the
file is mapped and each array is handed on the moment it is decoded.
"""

import mmap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import msgpack
import numpy as np

from dreamda_jax.data.files.regular import check_regular
from dreamda_jax.errors import UserError

_NDARRAY = 1  # flax.serialization._MsgpackExtType.ndarray


def read_msgpack(file: Path, convert: Callable[[np.ndarray], Any]) -> dict[str, Any]:
    """Read a Flax msgpack file and convert every array as it is decoded.

    Args:
        file: a file as `flax.serialization.msgpack_serialize` writes it.
        convert: called once per array, with a read-only view that is valid during the call only.

    Returns:
        The nested dict of the file with each array replaced by what `convert` returned.

    Raises:
        UserError: the file is empty, truncated or not msgpack, no ordinary file, has two values
            under one name, or holds something else than arrays under names.
    """

    def decode(code: int, data: bytes) -> Any:
        if code != _NDARRAY:
            raise ValueError(f"unknown msgpack extension type {code}")
        return _Leaf(convert(_ndarray_view(data)))

    try:
        with (
            open(check_regular(file), "rb") as stream,
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as view,
        ):
            tree = msgpack.unpackb(
                view, ext_hook=decode, object_pairs_hook=_once, raw=False, strict_map_key=False
            )
    except (msgpack.exceptions.UnpackException, ValueError, TypeError, OverflowError) as error:
        raise UserError(
            f"{file}: not a complete Flax msgpack file ({error}). Download it again."
        ) from error
    if not isinstance(tree, dict):
        raise UserError(f"{file}: holds no tree of parameters.")
    _unwrap(file, tree)
    return tree


class _Leaf(NamedTuple):
    """Tells what was an array from whatever else a file may hold."""

    value: Any


def _unwrap(file: Path, tree: dict[Any, Any]) -> None:
    """Puts the converted arrays in place; no recursion, as the depth is the file's."""
    pending = [("", tree)]
    while pending:
        prefix, branch = pending.pop()
        for name, entry in branch.items():
            where = f"{prefix}{name}"
            if not isinstance(name, str):
                raise UserError(f"{file}: has the key {name!r:.60}, not a name. Download it again.")
            if isinstance(entry, _Leaf):
                branch[name] = entry.value
            elif isinstance(entry, dict):
                pending.append((f"{where}/", entry))
            else:
                raise UserError(
                    f"{file}: holds {entry!r:.60} as {where}, not an array. Download it again."
                )


def _once(pairs: Sequence[tuple[Any, Any]]) -> dict[Any, Any]:
    """A map of which no name comes twice: a reader would keep the last."""
    tree = dict(pairs)
    if len(tree) != len(pairs) or len({str(name) for name in tree}) != len(pairs):
        names = [str(name) for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two values are called {twice!r}")
    return tree


def _ndarray_view(data: bytes) -> np.ndarray:
    """View the array inside an extension record: (shape, dtype name, buffer), packed."""
    unpacker = msgpack.Unpacker(raw=False)
    unpacker.feed(data[:1024])  # only the head: unpacking the buffer would copy it
    if unpacker.read_array_header() != 3:
        raise ValueError("a malformed array record")
    shape, name = tuple(unpacker.unpack()), unpacker.unpack()
    dtype = np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)
    size = int(np.prod(shape)) * dtype.itemsize
    if size > len(data):
        raise ValueError("an array record is shorter than its shape says")
    return np.frombuffer(data, dtype, offset=len(data) - size).reshape(shape)

"""Read a safetensors file tensor by tensor, into memory that is given back.

`safetensors.safe_open` maps the file, and every page that was read stays counted as this process's
memory until the file is closed: the whole of a checkpoint beside its parameters. So the library
checks the file, and the bytes are read in the ordinary way. Format:
https://huggingface.co/docs/safetensors
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from dreamda_jax.data.files import json_text
from dreamda_jax.data.files.regular import check_regular
from dreamda_jax.errors import UserError

FLOATS = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}


class StoredTensor(NamedTuple):
    """Where one tensor lies in its file."""

    file: Path
    name: str
    dtype: str  # as the format spells it: "F32", "BF16", "I64" …
    shape: tuple[int, ...]
    offset: int  # of the first byte, from the start of the file

    def read(self) -> np.ndarray:
        """Read the tensor; its dtype must be one of `FLOATS`."""
        array = np.empty(self.shape, FLOATS[self.dtype])
        with self.file.open("rb") as stream:
            stream.seek(self.offset)
            read = stream.readinto(array.reshape(-1).view(np.uint8).data)
        if read != array.nbytes:
            raise UserError(f"{self.file}: became shorter while it was read.")
        return array


def list_tensors(file: Path) -> list[StoredTensor]:
    """List a safetensors file's tensors in the order of their names.

    Raises:
        UserError: no such file, no ordinary file, or it is truncated, of another format, or has two
            tensors of one name.
    """
    try:
        with safe_open(check_regular(file), framework="numpy"):
            pass  # opening checks the header, and that the tensors cover the file exactly
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json_text.parse(stream.read(length), object_pairs_hook=_once)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(_damaged(file, error)) from error
    header.pop("__metadata__", None)
    return [
        StoredTensor(
            file=file,
            name=name,
            dtype=entry["dtype"],
            shape=tuple(entry["shape"]),
            offset=8 + length + entry["data_offsets"][0],
        )
        for name, entry in sorted(header.items())
    ]


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(n for n in names if names.count(n) > 1)} is there twice")
    return entries


def sort_metadata(file: Path) -> None:
    """Puts the metadata of a file in the order of their names, which the library leaves to chance.

    Two files of the same tensors and metadata are then the same to the byte.

    Raises:
        ValueError: the file is none that the library wrote.
    """
    with file.open("r+b") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
        metadata = dict(sorted(header.pop("__metadata__", {}).items()))
        text = json.dumps(
            {"__metadata__": metadata, **header} if metadata else header,
            separators=(",", ":"),
            ensure_ascii=False,
        ).encode()
        if len(text) > length:
            raise ValueError(f"{file}: its header is not as the library writes it")
        stream.seek(8)
        stream.write(text.ljust(length))  # spaces at the end belong to the format


def _damaged(file: Path, error: Exception) -> str:
    if not file.is_file():
        return f"{file}: no such file."
    with file.open("rb") as stream:
        if stream.read(40).startswith(b"version https://git-lfs"):
            return f"{file}: a git-lfs pointer, not the weights. Run `git lfs pull` beside it."
    return f"{file}: not a complete safetensors file ({error}). Download it again."

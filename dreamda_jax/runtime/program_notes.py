"""What earlier runs of a compiled program left word of: what it costs, how long it took.

    ~/.cache/dreamda_jax/programs/gpu/notes/3f0ae1….json

Notes lie beside the compiled programs and are gone with them. They are found by what a program
depends on, so that a changed option, another device or another version knows nothing.
"""

import functools
import hashlib
import importlib.metadata
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dreamda_jax
from dreamda_jax.data.files import atomic, json_text
from dreamda_jax.runtime import compilation_cache, devices

_PACKAGE = Path(dreamda_jax.__file__).parent
_LIBRARIES = ("jax", "jaxlib", "flax")


class ProgramNotes:
    """The notes of one program.

    Args:
      file: where they are; None keeps nothing.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._content: dict[str, Any] = {}
        if file is not None:
            try:
                content = json_text.parse(file.read_bytes())
            except (OSError, ValueError):  # none yet, or damaged: it is only a note
                content = {}
            self._content = content if isinstance(content, dict) else {}

    def number(self, name: str) -> float | None:
        """What was noted under a name, or None."""
        value = self._content.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool):
            return None
        return float(value) if math.isfinite(value) else None

    @property
    def seconds_each(self) -> float | None:
        """Of an image or a step, on all devices together, in the last run that measured it."""
        return self.number("seconds_each")

    def put(self, **numbers: float) -> None:
        """Notes numbers by their names; a disk that is full or read-only keeps none."""
        if self._file is None:
            return
        self._content |= numbers
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            atomic.write_atomically(self._file, atomic.to_json(self._content))
        except OSError:
            pass


NONE = ProgramNotes(None)
"""Of a program that nothing is kept of."""


def notes_of(program: str, depends_on: Mapping[str, Any]) -> ProgramNotes:
    """The notes of a program on devices as they are here.

    Args:
      program: its name, such as "generate".
      depends_on: everything that shapes it but devices and versions: what JSON can hold, and
        values whose `repr` says all of them.
    """
    directory = compilation_cache.kept_in()
    if directory is None:
        return NONE
    identity = {
        "program": program,
        "depends_on": depends_on,
        "devices": devices.describe_devices(),
        "source": _source_digest(),
        "versions": {name: importlib.metadata.version(name) for name in _LIBRARIES},
        "flags": os.environ.get("XLA_FLAGS", ""),
    }
    text = json.dumps(identity, sort_keys=True, default=repr)
    digest = hashlib.sha256(text.encode()).hexdigest()[:24]
    return ProgramNotes(directory / "notes" / f"{digest}.json")


@functools.cache
def _source_digest() -> str:
    """Of the package's own code."""
    digest = hashlib.sha256()
    for file in sorted(_PACKAGE.rglob("*.py")):
        digest.update(file.relative_to(_PACKAGE).as_posix().encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()

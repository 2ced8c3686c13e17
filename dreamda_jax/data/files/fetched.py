"""Which version of each object in a store a directory here has; a size alone decides nothing.

A version is what the store calls one: an entity tag, a checksum, a generation, or else the times of
change. It is noted when an object has been fetched or sent, with the state of the file here, in a
file beside the directory. A file that was changed here, or that nobody noted, is fetched again.
"""

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dreamda_jax.data.files import atomic, json_text

# As gcsfs, s3fs, adlfs, huggingface_hub and fsspec's own stores name them, the surest first.
_TAGS = ("etag", "ETag", "md5Hash", "md5", "content_md5", "crc32c", "generation", "blob_id", "oid")
_TIMES = ("mtime", "created", "ino", "updated", "last_modified", "LastModified", "modified")


class Object(NamedTuple):
    """One object of a store."""

    size: int  # bytes
    version: str | None  # None: the store tells nothing that would change with the bytes


class Fetched:
    """What is noted of one directory; to be saved when it was brought up to date.

    Args:
      directory: of the files here; the notes lie beside it.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path = directory.with_name(f"{directory.name}.fetched.json")
        self._notes = self._read()
        self._changed = False

    def has(self, name: str, there: Object) -> bool:
        """Whether the file here is that version of that object, and as it was fetched."""
        return there.version is not None and self._notes.get(name) == self._note(name, there)

    def add(self, name: str, there: Object) -> None:
        """Notes that the file here is that version of that object."""
        self._notes[name] = self._note(name, there)
        self._changed = True

    def save(self) -> None:
        """Keeps the notes, where any is new.

        Raises:
          OSError: they cannot be written.
        """
        if self._changed:
            atomic.write_atomically(self._path, atomic.to_json(self._notes, indent=None))
            self._changed = False

    def forget(self) -> None:
        """Drops the notes: the directory is gone, or another run's."""
        self._notes, self._changed = {}, False
        self._path.unlink(missing_ok=True)

    def _note(self, name: str, there: Object) -> list[Any]:
        try:
            here = (self._directory / name).stat()
        except OSError:
            return [there.size, there.version, None, None]
        return [there.size, there.version, here.st_size, here.st_mtime_ns]

    def _read(self) -> dict[str, Any]:
        try:
            notes = json_text.parse(self._path.read_bytes())
        except (OSError, ValueError):
            return {}
        return notes if isinstance(notes, dict) else {}


def version_of(entry: Mapping[str, Any]) -> str | None:
    """The version in what fsspec says of an object."""
    for field in _TAGS:
        if entry.get(field):
            return f"{field.lower()} {str(entry[field]).removeprefix('W/')}".replace('"', "")
    times = [f"{field} {_number(entry[field])}" for field in _TIMES if entry.get(field)]
    return ", ".join(times) or None


def _number(value: Any) -> Any:
    """A listing may give seconds where the object itself gives a date."""
    return value.timestamp() if isinstance(value, datetime.datetime) else value

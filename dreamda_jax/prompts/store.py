"""The file of descriptions: a line for each, kept as soon as it is accepted.

FILE                  jsonl: {"class": …, "prompt": …, "writer": …, "model": …}
FILE.settings.json    what decides the descriptions; a job with other settings is refused
"""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from dreamda_jax.data.files import atomic, json_text, run_settings
from dreamda_jax.data.files.regular import check_regular
from dreamda_jax.errors import UserError
from dreamda_jax.options.prompts import Prompts
from dreamda_jax.settings import binding

try:
    import fcntl
except ImportError:  # Windows: no lock
    fcntl = None  # type: ignore[assignment]

_FORMAT = "dreamda_jax prompts"


class Store:
    """An open file of descriptions that this process holds.

    Args:
      path: of the file.
      stream: open for appending.
      label_names: the classes, as the source names them.

    Attributes:
      accepted: the descriptions of each class, oldest first.

    Raises:
      UserError: a line is not what this command writes.
    """

    def __init__(self, path: Path, stream: BinaryIO, label_names: Sequence[str]) -> None:
        self._path, self._stream = path, stream
        self.accepted = read(path, label_names)

    def add(self, class_name: str, text: str, record: Mapping[str, str]) -> None:
        """Appends one description, which then survives this process.

        Raises:
          UserError: the disk is full.
        """
        line = atomic.to_json({"class": class_name, "prompt": text, **record}, indent=None)
        with atomic.disk_full_is_a_user_error(self._path.parent, needed=len(line)):
            self._stream.write(line)
            self._stream.flush()
        self.accepted[class_name].append(text)


def settings_path(path: Path) -> Path:
    """The file of a job's settings."""
    return path.with_name(f"{path.name}.settings.json")


def read(path: Path, label_names: Sequence[str]) -> dict[str, list[str]]:
    """The descriptions of each class; a last line without an end is left out.

    Raises:
      UserError: a line is not what this command writes, or the file cannot be read.
    """
    found: dict[str, list[str]] = {name: [] for name in label_names}
    for number, line in enumerate(_whole_lines(path), start=1):
        try:
            entry = json_text.parse(line)
            found[entry["class"]].append(str(entry["prompt"]))
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}, line {number}: not a line that this command wrote "
                f"({type(error).__name__}: {error}). Mend or remove the line, or give another "
                "config.prompts.output."
            ) from error
    return found


@contextlib.contextmanager
def open_store(
    path: Path, settings: Mapping[str, Any], label_names: Sequence[str]
) -> Iterator[Store]:
    """The file, made or taken up again, and held against other processes.

    A last line that was cut off is removed.

    Args:
      path: of the file; its directory is made.
      settings: everything that decides the descriptions.
      label_names: the classes, as the source names them.

    Raises:
      UserError: the file is that of other settings, in use, damaged, or cannot be written.
    """
    check_settings(path, settings)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("a+b")
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror or error}): give another "
            "config.prompts.output"
        ) from error
    with stream:
        _lock(stream, path)
        check_settings(path, settings)  # once more: another process may have come first
        content = {"format": _FORMAT, "settings": run_settings.plain(settings)}
        with atomic.disk_full_is_a_user_error(path.parent, needed=100_000):
            atomic.remove_leftovers(path.parent)
            atomic.write_atomically(settings_path(path), atomic.to_json(content))
        whole = sum(len(line) + 1 for line in _whole_lines(path))
        if path.stat().st_size > whole:
            print(f"repaired    {path}: its last line had been cut off, and is written anew")
            stream.truncate(whole)
        yield Store(path, stream, label_names)
        os.fsync(stream.fileno())


def check_settings(path: Path, settings: Mapping[str, Any]) -> None:
    """Refuses a file that other settings made, or something else; writes nothing.

    Raises:
      UserError: says what differs.
    """
    if path.is_dir():
        raise UserError(f"{path} is a directory: give a file as config.prompts.output")
    check_regular(path)
    check_regular(settings_path(path))
    if not path.exists() or not path.stat().st_size:
        return  # there is nothing to protect
    here = _read_settings(settings_path(path))
    if here is None:
        raise UserError(
            f"{path} is there, but beside it no {settings_path(path).name} that says which "
            "settings made it: give another config.prompts.output"
        )
    lines = run_settings.since_begun(
        here, settings, defaults={"prompts": binding.defaults(Prompts)}
    )
    if lines:
        raise UserError(
            f"{path} was made with other settings:\n  "
            + "\n  ".join(lines)
            + "\nGive another config.prompts.output or, to continue that file, its own settings. "
            "(A sha256 differs where class names or the file of attributes have changed.)"
        )


def _read_settings(path: Path) -> dict[str, Any] | None:
    try:
        content = json_text.parse(path.read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        return None
    settings = content.get("settings")
    return settings if isinstance(settings, dict) else None


def _whole_lines(path: Path) -> list[bytes]:
    if not path.exists():
        return []
    try:
        return path.read_bytes().split(b"\n")[:-1]
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error})") from error


def _lock(stream: BinaryIO, path: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(
            f"{path} is in use by another process: wait for it, stop it, or give another "
            "config.prompts.output"
        ) from None
    except OSError:  # some network file systems have no locks
        return

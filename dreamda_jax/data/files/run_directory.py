"""The output directory of a run, records aside: whose it is, its settings, its lock, its versions.

    DIR/config.json      the resolved settings; a run with other settings is refused
    DIR/versions.json    what software made it, as of the first start
    DIR/.lock-<i>        held while process i of the run lives; the kernel releases it on any death

Several hosts may share the directory: whoever comes first creates a file, the others compare.
"""

import contextlib
import errno
import logging
import os
import shutil
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dreamda_jax.data.files import atomic, json_text, run_lock, run_settings
from dreamda_jax.data.files.digests import sha256_of_bytes
from dreamda_jax.data.files.run_settings import software_versions
from dreamda_jax.errors import UserError

_FORMAT = "dreamda_jax run"
_MADE = (  # a shard, and what it is made of; a checkpoint of a training, a stage, a fine-tuning; …
    *("done/*.json", "learned/*.safetensors"),
    *("run-*/checkpoints/[0-9]*", "run-*/*/checkpoints/[0-9]*"),
    *("checkpoints/[0-9]*", "run-*/*/verdicts.parquet"),
)
_NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)
_LOG = logging.getLogger(__name__)


@dataclass
class Run:
    """An output directory this process holds; a context manager that lets go of it."""

    directory: Path
    resumed: bool  # the directory held a run with these settings before
    read_only: str = ""  # why nothing can be written: such a run can only be looked at
    _lock: int | None = field(default=None, repr=False)

    def require_writable(self) -> None:
        """Raise UserError where there is work to do and nothing can be written."""
        if self.read_only:
            raise _cannot_be_written(self.directory, self.read_only)

    def close(self) -> None:
        """Release the lock; what is written stays."""
        if self._lock is not None:
            run_lock.release(self._lock)
            self._lock = None

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        self.close()


def open_run(
    directory: Path,
    settings: Mapping[str, Any],
    *,
    defaults: Mapping[str, Any] = types.MappingProxyType({}),
    process_index: int = 0,
) -> Run:
    """Create an output directory, or take up again the one made with the same settings.

    Args:
        directory: made with its parents if absent.
        settings: everything that decides the output, nested dicts of plain values; leave out what
            cannot change it (number of workers, log intervals).
        defaults: see `check_settings`.
        process_index: of this host among those sharing the directory: each has its own lock.

    Raises:
        UserError: not a directory, holds something else, made with other settings, in use by
            another process, or not writable.

    A directory with these settings on a read-only disk is opened without a lock: see `read_only`.
    """
    directory = Path(directory)
    if directory.exists() and not directory.is_dir():
        raise UserError(f"The output {directory} is a file. Give a directory.")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _refuse_a_foreign_directory(directory)
        run = Run(directory, resumed=False, _lock=run_lock.hold(directory, process_index))
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _NOT_WRITABLE and is_continued(directory, settings, defaults=defaults):
            return Run(directory, resumed=True, read_only=reason)
        raise _cannot_be_written(directory, reason) from error
    try:
        content = {"format": _FORMAT, "settings": run_settings.plain(settings)}
        with atomic.disk_full_is_a_user_error(directory, needed=100_000):
            config = directory / "config.json"
            created = atomic.create_if_absent(config, atomic.to_json(content))
            if not created:
                check_settings(directory, settings, defaults=defaults)
                _note_older(config, settings)
                # Nothing was made, so there is nothing to protect: take the new settings.
                if process_index == 0 and _changes(directory, settings, defaults):
                    atomic.write_atomically(config, atomic.to_json(content))
            _record_versions(directory)
        run.resumed = not created
    except BaseException:
        run.close()
        raise
    return run


def _cannot_be_written(directory: Path, reason: str) -> UserError:
    return UserError(
        f"The output directory {directory} cannot be written ({reason}). Change its permissions or "
        "give another one."
    )


def check_free_space(path: Path, *, needed: int) -> None:
    """Compare an estimate of what is still to be written with what is free at `path`.

    Raises:
        UserError: `needed` bytes do not fit; the message gives both numbers.
    """
    free = free_bytes(path)
    if needed > free:
        raise UserError(
            f"About {needed:,} bytes are needed in {path}, and {free:,} are free. Free some space "
            "or give another output directory."
        )


def held_bytes(path: Path) -> int:
    """Bytes of the files in a directory and below it; 0 if it is not there."""
    total = 0
    for file in Path(path).rglob("*"):
        with contextlib.suppress(OSError):  # a live run may remove it in the meantime
            total += file.lstat().st_size if file.is_file() else 0
    return total


def free_bytes(path: Path) -> int:
    """Bytes this user may still write where `path` is, or will be once it is made."""
    path = Path(path).absolute()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def _refuse_a_foreign_directory(directory: Path) -> None:
    names = sorted(entry.name for entry in os.scandir(directory))
    foreign = [name for name in names if not name.startswith((".lock-", atomic.PREFIX))]
    config = directory / "config.json"
    # Asked after listing: another host may be creating the run at this moment.
    if not foreign or (config.exists() and _read_config(config) is not None):
        return
    if (directory / "versions.json").exists() or has_begun(directory):
        raise UserError(
            f"{directory} is the output of a run, but its config.json is missing or damaged, so it "
            "cannot be told whether this configuration made it. Restore that file, or give another "
            "output directory."
        )
    shown = ", ".join(foreign[:5]) + (f" and {len(foreign) - 5} more" if len(foreign) > 5 else "")
    raise UserError(
        f"The output directory {directory} holds something else: {shown}. Give a new or an empty "
        "directory."
    )


def _read_config(path: Path) -> dict[str, Any] | None:
    """Settings of a `config.json` of ours; None if it is something else (the name is common)."""
    try:
        content = json_text.parse(path.read_bytes())
    except ValueError:
        return None
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        return None
    settings = content.get("settings")
    return settings if isinstance(settings, dict) else None


def check_settings(
    directory: Path,
    settings: Mapping[str, Any],
    *,
    defaults: Mapping[str, Any] = types.MappingProxyType({}),
) -> None:
    """Refuse settings other than those a directory was started with; writes nothing.

    Args:
        directory: of the run, or where it will be.
        settings: of today's configuration.
        defaults: by section the value that a field counts as where an older run lacks it.

    Raises:
        UserError: not a directory, not a run's, or a run of other settings that has made something.
    """
    if directory.exists() and not directory.is_dir():
        raise UserError(f"The output {directory} is a file. Give a directory.")
    if not directory.exists():
        return
    _refuse_a_foreign_directory(directory)
    lines = _changes(directory, settings, defaults)
    if lines and has_begun(directory):
        raise UserError(
            f"{directory} was started with other settings, or by another command:\n  "
            + "\n  ".join(lines)
            + "\nGive another output directory or, to continue that run, its own command and "
            "settings. (A sha256 differs where source images, labels or captions, or the model's "
            "files, have changed.)"
        )


def settings_digest(directory: Path) -> str | None:
    """Sha256 (hex) of the settings a directory was started with; None if no config.json says."""
    try:
        settings = _read_config(directory / "config.json")
    except OSError:
        return None
    return None if settings is None else sha256_of_bytes(atomic.to_json(settings))


def is_continued(
    directory: Path, settings: Mapping[str, Any], *, defaults: Mapping[str, Any]
) -> bool:
    """Whether a directory was started with these settings, by whatever version."""
    config = directory / "config.json"
    readable = config.exists() and _read_config(config) is not None
    return readable and not _changes(directory, settings, defaults)


def recorded_settings(directory: Path) -> dict[str, Any] | None:
    """Those that a run was begun with; None where there is none, or config.json is damaged."""
    config = directory / "config.json"
    return _read_config(config) if config.exists() else None


def _changes(
    directory: Path, settings: Mapping[str, Any], defaults: Mapping[str, Any]
) -> list[str]:
    config = directory / "config.json"
    here = _read_config(config) if config.exists() else None
    return [] if here is None else run_settings.since_begun(here, settings, defaults=defaults)


def has_begun(directory: Path) -> bool:
    """Whether a directory holds something that a run has made."""
    return any(any(directory.glob(pattern)) for pattern in _MADE)


def _note_older(config: Path, settings: Mapping[str, Any]) -> None:
    here = _read_config(config)
    by_listing = run_settings.compares_by_listing(here or {}, settings)
    if here is not None and by_listing:
        _LOG.warning(
            "%s was begun by a version that compared names and sizes, not every byte: whether the "
            "bytes are the same is not known of: %s",
            config.parent,
            ", ".join(by_listing),
        )


def _record_versions(directory: Path) -> None:
    versions = software_versions()
    path = directory / "versions.json"
    if atomic.create_if_absent(path, atomic.to_json(versions)):
        return
    try:
        lines = run_settings.difference(json_text.parse(path.read_bytes()), versions)
    except (ValueError, AttributeError):
        lines = ["versions.json is unreadable"]
    if lines:
        _LOG.warning(
            "%s was started with other software, what is made now may differ in its last bits: %s",
            directory,
            "; ".join(lines),
        )

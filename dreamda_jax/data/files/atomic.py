"""Files that appear whole or not at all, whoever kills us and however many of us there are.

Everything is written under a temporary name in the final directory and renamed. The temporary name
tells who writes it, so a later run can clear what a dead process left without touching what a live
one (here or on another host that shares the directory) is writing.
"""

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dreamda_jax.errors import UserError
from dreamda_jax.printable import escaped_json, masked

PREFIX = ".dreamda-tmp"
_DAY_SECONDS = 86_400
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Temporary names this process is using now: a restarted container often gets its old pid again, so
# "the pid is alive, it is mine" does not mean that the file is in use.
_in_use: set[Path] = set()


def machine_id() -> str:
    """Where a pid means something: host and pid namespace, as ten hexadecimal digits."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:  # not Linux
        namespace = ""
    return hashlib.sha256(f"{socket.gethostname()} {namespace}".encode()).hexdigest()[:10]


def process_is_alive(pid: int) -> bool:
    """Whether a process with this id exists on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


@contextlib.contextmanager
def temporary(final: Path) -> Iterator[Path]:
    """A name beside `final`, unique to this process and call; removed on exit if still there."""
    tag = f"{PREFIX}~{machine_id()}~{os.getpid()}~{secrets.token_hex(4)}"
    path = final.with_name(f"{tag}~{final.name}")
    _in_use.add(path)
    try:
        yield path
    finally:
        _in_use.discard(path)
        _remove(path)


def replace_durably(source: Path, final: Path) -> None:
    """Rename `source` to `final` so that a power cut leaves the old or the whole new file."""
    _fsync(source)
    os.replace(source, final)
    _fsync(final.parent)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a small file; readers see the old content or the new one, never a part."""
    with temporary(path) as scratch:
        scratch.write_bytes(data)
        replace_durably(scratch, path)


def write_if_changed(path: Path, data: bytes) -> None:
    """Write a small file unless it holds just that: what is as it should be is left alone."""
    with contextlib.suppress(FileNotFoundError):
        if path.read_bytes() == data:
            return
    write_atomically(path, data)


def create_if_absent(path: Path, data: bytes) -> bool:
    """Write `path` unless it exists; of several racing processes exactly one returns True."""
    if path.exists():
        return False
    with temporary(path) as scratch:
        scratch.write_bytes(data)
        _fsync(scratch)
        try:
            os.link(scratch, path)  # unlike rename, it fails if the name is taken
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links: the window is microseconds
            if path.exists():
                return False
            os.replace(scratch, path)
        _fsync(path.parent)
        return True


def to_json(value: Any, *, indent: int | None = 2) -> bytes:
    """Stable JSON: sorted keys, UTF-8, a newline at the end; passwords in addresses are masked."""
    text = json.dumps(value, indent=indent, sort_keys=True, ensure_ascii=False)
    # File names that are not valid UTF-8 reach us as lone surrogates; they stay readable.
    return (escaped_json(masked(text)) + "\n").encode()


def remove_leftovers(directory: Path) -> list[Path]:
    """Remove temporary files (not recursively) of dead processes of this machine, or a day old.

    Returns what was removed.
    """
    removed: list[Path] = []
    for path in sorted(directory.glob(f"{PREFIX}~*")):
        if path not in _in_use and _is_abandoned(path):
            _remove(path)
            removed.append(path)
    return removed


@contextlib.contextmanager
def disk_full_is_a_user_error(directory: Path, *, needed: int) -> Iterator[None]:
    """Turn a full disk, quota or file size limit into a message; other errors pass unchanged.

    ArrayRecord (a RuntimeError) and orbax (a ValueError) report them with the system's text, hence
    the look at the text.

    Raises:
        UserError: the disk or the quota is full, or a file would be larger than is allowed.
    """
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        code = next((code for code in _FULL if _is(error, code)), None)
        if code is None:
            raise
        what = f"No space left in {directory}"
        if code == errno.EFBIG:
            what = f"A file in {directory} would be larger than the limit (`ulimit -f`)"
        raise UserError(
            f"{what}: {needed:,} bytes were needed next, "
            f"{_free_bytes(directory):,} are free. Nothing half-written was kept, and what was "
            "finished stays. Free some space and run the same command again: it continues."
        ) from error


def _is(error: Exception, code: int) -> bool:
    return getattr(error, "errno", None) == code or os.strerror(code) in str(error)


def _free_bytes(directory: Path) -> int:
    try:
        return shutil.disk_usage(directory).free
    except OSError:
        return 0


def _is_abandoned(path: Path) -> bool:
    parts = path.name.split("~", 4)
    try:
        age = time.time() - path.lstat().st_mtime
    except OSError:  # its owner renamed it in the meantime
        return False
    if age > _DAY_SECONDS or len(parts) < 5:
        return age > _DAY_SECONDS
    machine, pid = parts[1], parts[2]
    if machine != machine_id() or not pid.isdigit():
        return False
    return int(pid) == os.getpid() or not process_is_alive(int(pid))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        # What cannot be removed is cleared at a later start; the first error is the one to see.
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot sync a directory; they then sync on rename themselves.
        if not path.is_dir() or error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)

"""The lock of a run's directory: DIR/.lock-<i> is held while process i of the run lives.

The kernel releases it on any death.
"""

import logging
import os
import re
import socket
import time
from pathlib import Path

from dreamda_jax.data.files import atomic
from dreamda_jax.errors import UserError

try:
    import fcntl
except ImportError:  # Windows: no lock; two processes then waste work but damage nothing
    fcntl = None  # type: ignore[assignment]

_LOG = logging.getLogger(__name__)
_held_descriptors: set[int] = set()
_PATIENCE = 50  # tenths of a second


def _close_in_child() -> None:
    # A forked worker would share the lock and keep it after its parent was killed.
    for descriptor in _held_descriptors:
        os.close(descriptor)
    _held_descriptors.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)


def hold(directory: Path, process_index: int) -> int | None:
    """The descriptor that holds the lock, or None where there are no locks.

    Raises:
        UserError: another live process holds it.
    """
    if fcntl is None:
        return None
    path = directory / f".lock-{process_index}"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _lock(descriptor)
    except BlockingIOError:
        holder = _holder(descriptor)
        os.close(descriptor)
        raise UserError(
            f"{directory} is in use by another process ({holder or 'just starting'}). Wait for it, "
            "stop it, or give another output directory."
        ) from None
    except OSError as error:  # some network file systems have no locks
        _LOG.warning("%s cannot be locked (%s): start only one process on it.", path, error)
        os.close(descriptor)
        return None
    now = time.strftime("%Y-%m-%d %H:%M:%S %Z")
    os.ftruncate(descriptor, 0)
    text = f"process {os.getpid()} on {socket.gethostname()}, started {now}\n"
    os.pwrite(descriptor, text.encode(), 0)
    _held_descriptors.add(descriptor)
    return descriptor


def _lock(descriptor: int) -> None:
    """Takes the lock; of a holder that was killed a worker may have it for a moment still."""
    for _ in range(_PATIENCE):
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            named = re.match(r"process (\d+) on (\S+),", _holder(descriptor))
            is_here = named is not None and named[2] == socket.gethostname()
            if named is None or not is_here or atomic.process_is_alive(int(named[1])):
                raise
            time.sleep(0.1)
    return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _holder(descriptor: int) -> str:
    return os.pread(descriptor, 1000, 0).decode(errors="replace").strip()


def release(descriptor: int) -> None:
    """Let go of what `hold` returned."""
    _held_descriptors.discard(descriptor)
    os.close(descriptor)

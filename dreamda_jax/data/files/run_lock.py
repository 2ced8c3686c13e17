"""The lock of a run's directory: DIR/.lock-<i> is held while process i of the run lives.

The kernel releases it on any death.
"""

import logging
import os
import socket
import time
from pathlib import Path

from dreamda_jax.errors import UserError

try:
    import fcntl
except ImportError:  # Windows: no lock; two processes then waste work but damage nothing
    fcntl = None  # type: ignore[assignment]

_LOG = logging.getLogger(__name__)
_held_descriptors: set[int] = set()


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
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 1000, 0).decode(errors="replace").strip()
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


def release(descriptor: int) -> None:
    """Let go of what `hold` returned."""
    _held_descriptors.discard(descriptor)
    os.close(descriptor)

"""What the processes of one program agree on: each calls the same function at the same place.

Where there is one process, each of these is the plain thing.
"""

import collections
import os
import threading
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from dreamda_jax.runtime import devices

_LAG = 2


class SharedStop:
    """`threading.Event.is_set` for all processes: true everywhere once it was true anywhere.

    Every process asks as often as the others, once for each step of a loop. The answer is what was
    asked two steps before, so that nobody waits for the devices to finish the step at hand.

    Args:
      stop: of this process.
    """

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._asked: collections.deque[jax.Array] = collections.deque()
        self._is_set = False
        self._mesh = devices.training_mesh()

    def is_set(self) -> bool:
        """Whether all of them stop now."""
        if self._is_set:
            return True
        own = np.full(devices.local_device_count(), self._stop.is_set(), np.int32)
        self._asked.append(_largest(devices.global_rows(self._mesh, own)))
        if len(self._asked) > _LAG:
            self._is_set = bool(self._asked.popleft())
        return self._is_set


@jax.jit
def _largest(values: jax.Array) -> jax.Array:
    return values.max()


def of_first(value: Any) -> Any:
    """A number or array of process 0, on all of them."""
    if devices.process_count() == 1:
        return value
    array = np.asarray(value)
    # As bytes: the devices would make float32 of float64.
    sent = multihost_utils.broadcast_one_to_all(np.frombuffer(array.tobytes(), np.uint8))
    return np.frombuffer(np.asarray(sent).tobytes(), array.dtype).reshape(array.shape).tolist()


def all_of(value: bool) -> bool:
    """Whether it is true on every process."""
    if devices.process_count() == 1:
        return value
    return bool(multihost_utils.process_allgather(np.asarray(value)).all())


def gather_rows(rows: np.ndarray) -> np.ndarray:
    """The rows [b, ...] of all processes one after the other, on all of them; any dtype."""
    if devices.process_count() == 1:
        return rows
    plain = np.frombuffer(np.ascontiguousarray(rows).tobytes(), np.uint8)
    every = multihost_utils.process_allgather(plain)
    return np.frombuffer(every.tobytes(), rows.dtype).reshape(-1, *rows.shape[1:])


def barrier(name: str) -> None:
    """Waits until every process is here."""
    if devices.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def is_shared(directory: Path) -> bool:
    """Whether all processes see the same directory, which is made if it is absent."""
    if devices.process_count() == 1:
        return True
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / f".lock-shared-{of_first(os.getpid())}"
    if devices.process_index() == 0:
        file.touch()
    barrier("shared directory written")
    seen = all_of(file.exists())
    if devices.process_index() == 0:
        file.unlink()
    barrier("shared directory seen")
    return seen

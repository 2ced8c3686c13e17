"""The numbers of a training, step by step: for programs as JSON lines, for TensorBoard as events.

`metrics.jsonl` holds one object per line: `{"step": 10, "epoch": 1.25, "train/loss": 0.41}`. JSON
knows no NaN and no infinity; both become null there, and NaN again in `read_log`. TensorBoard gets
the values as they are.
"""

import contextlib
import json
import math
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from tensorboardX import RecordWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from dreamda_jax.data.files import atomic, json_text
from dreamda_jax.errors import UserError

_METRICS, _EVENTS = "metrics.jsonl", "tensorboard"
_SYNC_EVENTS_SECONDS = 2.0


class TrainingLog:
    """Writes `metrics.jsonl` and event files; a line is on its way to the disk once written.

    One process of a run has one; nothing here knows of others.

    Args:
      directory: of the run; made if it is not there.
      resume_step: the step that training goes on from. What an earlier process logged after it is
        removed, since it will be logged again; at 0, everything.

    Raises:
      UserError: the log to be continued is damaged, or the disk is full.
    """

    def __init__(self, directory: Path, *, resume_step: int = 0) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / _METRICS
        kept = []
        if resume_step and path.exists():
            kept = [row for row in read_log(directory) if row["step"] <= resume_step]
        self._directory = directory
        with atomic.disk_full_is_a_user_error(directory, needed=100_000):
            atomic.write_atomically(path, b"".join(_to_line(row) for row in kept))
            self._lines = path.open("ab")
            self._events = _open_events(
                directory / _EVENTS, purge_step=resume_step + 1 if resume_step else 0
            )
        self._synced = time.monotonic()

    def write(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Logs numbers of one step.

        Args:
          step: optimizer steps done.
          scalars: by name, such as "train/loss"; numbers or arrays of one element.

        Raises:
          ValueError: a scalar is called "step".
          UserError: the disk is full.
        """
        if "step" in scalars:
            raise ValueError('"step" is the line\'s own; name the scalar otherwise')
        numbers = {name: np.asarray(value).item() for name, value in scalars.items()}
        with atomic.disk_full_is_a_user_error(self._directory, needed=1_000):
            self._lines.write(_to_line({"step": int(step), **numbers}))
            self._lines.flush()
            values = [
                Summary.Value(tag=name, simple_value=value) for name, value in numbers.items()
            ]
            self._add_event(step, values)

    def flush(self) -> None:
        """Brings everything to the disk."""
        self._lines.flush()
        self._events.flush()
        self._synced = time.monotonic()

    def close(self) -> None:
        """Ends the log; it cannot be written to any more."""
        full_disk = atomic.disk_full_is_a_user_error(self._directory, needed=1_000)
        with full_disk, contextlib.closing(self._events):
            self._lines.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _add_event(self, step: int, values: list[Summary.Value]) -> None:
        event = Event(wall_time=time.time(), step=int(step), summary=Summary(value=values))
        self._events.write(event.SerializeToString())
        # Each flush waits for the disk, which is slow on shared file systems.
        if time.monotonic() - self._synced >= _SYNC_EVENTS_SECONDS:
            self.flush()


class NoLog:
    """In the place of a log where another process of the job writes it."""

    def write(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""


def read_log(directory: Path) -> list[dict[str, Any]]:
    """All lines of a training's `metrics.jsonl`, in order; a torn last one is left out.

    Raises:
      UserError: there is none, or a line is damaged.
    """
    path = directory / _METRICS
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}). Give the output directory of a training."
        ) from error
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json_text.parse(line)
            rows.append({"step": int(row.pop("step")), **{k: _from_json(row[k]) for k in row}})
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            if number < len(lines):
                raise UserError(
                    f"{path}, line {number} is damaged. Delete this line and run the same command "
                    "again."
                ) from error
    return rows


def _to_line(row: Mapping[str, Any]) -> bytes:
    finite = {name: value if math.isfinite(value) else None for name, value in row.items()}
    return (json.dumps(finite, allow_nan=False) + "\n").encode()


def _from_json(value: float | None) -> float:
    return math.nan if value is None else value


def _open_events(directory: Path, *, purge_step: int) -> RecordWriter:
    """A new event file, which tells TensorBoard to forget older files' events from a step on.

    tensorboardX's `SummaryWriter` writes the same, through a queue and a thread: a full disk kills
    the thread silently, the queue runs full, and training hangs.
    """
    directory.mkdir(exist_ok=True)
    # TensorBoard reads files in the order of their names, and knows them by "tfevents".
    now = time.time_ns()
    name = f"events.out.tfevents.{now // 10**9}.{socket.gethostname()}.{now % 10**9:09}"
    events = RecordWriter(str(directory / name))
    for event in (
        Event(file_version="brain.Event:2"),
        Event(session_log=SessionLog(status=SessionLog.START), step=purge_step),
    ):
        event.wall_time = now / 1e9
        events.write(event.SerializeToString())
    events.flush()
    return events

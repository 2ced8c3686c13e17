"""Runs a study: every stage of every cell that is not finished, as a child process."""

import datetime
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from dreamda_jax.reproduce import progress
from dreamda_jax.reproduce.cells import Cell, Setup, Stage, stages, wanted_stages

_LAST_LINES, _LONGEST_LINE, _TAIL_BYTES = 12, 300, 20_000
_POLL_SECONDS = 0.2


class Ended(NamedTuple):
    """How a child ended.

    Attributes:
      code: its exit code; negative: the signal that killed it.
      last_lines: of what it printed.
    """

    code: int
    last_lines: tuple[str, ...]

    @property
    def reason(self) -> str:
        """In words."""
        if self.code >= 0:
            return f"exit code {self.code}"
        try:
            return f"killed by {signal.Signals(-self.code).name}"
        except ValueError:
            return f"killed by signal {-self.code}"


def run_child(
    module: str, arguments: Sequence[str], *, log: Path, stop: threading.Event
) -> Ended | None:
    """Runs `python -m module arguments` with this Python and waits for it.

    Args:
      module: to run.
      arguments: of it.
      log: what it prints is added to this file.
      stop: once set, the child gets SIGTERM, which our commands take as the wish to stop cleanly.

    Returns:
      None if it was stopped with work left to do.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream:
        start = stream.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            # A terminal's Ctrl-C goes to a whole group. The child must hear of it once, from us:
            # the second signal ends it at once.
            start_new_session=True,
        )
        try:
            stopped = _wait(process, stop)
        except BaseException:
            process.kill()
            process.wait()
            raise
    if stopped and process.returncode:
        return None
    return Ended(process.returncode, _last_lines(log, start))


def _wait(process: subprocess.Popen, stop: threading.Event) -> bool:
    """Whether the child was asked to stop before it ended."""
    while process.poll() is None:
        if stop.wait(_POLL_SECONDS):
            process.send_signal(signal.SIGTERM)
            process.wait()
            return True
    return False


def _last_lines(log: Path, start: int) -> tuple[str, ...]:
    with log.open("rb") as stream:
        end = stream.seek(0, os.SEEK_END)
        stream.seek(max(start, end - _TAIL_BYTES))
        text = stream.read().decode(errors="replace")
    lines = [line.strip()[:_LONGEST_LINE] for line in re.split(r"[\r\n]+", text)]
    return tuple([line for line in lines if line][-_LAST_LINES:])


Failures = dict[tuple[str, str], Ended]
"""By cell and stage how it ended."""


class Outcome(NamedTuple):
    """Of a session.

    Attributes:
      failures: of its stages.
      complete: whether everything was tried; False if it was stopped.
    """

    failures: Failures
    complete: bool


def run_cells(
    cells: Sequence[Cell],
    setup: Setup,
    stop: threading.Event,
    after_cell: Callable[[Failures], object],
) -> Outcome:
    """Makes what is missing.

    Of a cell whose synthetic set failed, the other stages are left out; all else is tried.

    Args:
      cells: in this order.
      setup: of the study.
      stop: ends it; the running stage can be continued.
      after_cell: called with the failures so far.
    """
    failures: Failures = {}
    started = time.monotonic()
    for number, cell in enumerate(cells, 1):
        say = _Says(f"[{number}/{len(cells)}] {cell.name}", started)
        for stage in wanted_stages(cell, setup):
            ended = None if stop.is_set() else _run_stage(cell, stage, setup, stop, say)
            if ended is None:
                return Outcome(failures, complete=False)
            if ended.code:
                failures[cell.name, stage.name] = ended
                if stage.name == "generate":
                    break
        after_cell(failures)
    return Outcome(failures, complete=True)


def _run_stage(
    cell: Cell, stage: Stage, setup: Setup, stop: threading.Event, say: "_Says"
) -> Ended | None:
    directory = setup.directory(cell)
    if progress.finished(directory, stage, digest=setup.digest(cell)):
        say(stage, "is done already")
        return Ended(0, ())
    log = progress.log_file(directory, stage)
    say(stage, f"started; {log}")
    # Everything is made from the set; otherwise stages do not depend on each other.
    every = stages(cell, setup)
    progress.forget(directory, every if stage.name == "generate" else [stage])
    start = time.monotonic()
    ended = run_child(stage.module, stage.arguments, log=log, stop=stop)
    if ended is None:
        say(stage, "stopped")
        return None
    if not ended.code and not stage.result.exists():
        ended = Ended(1, (*ended.last_lines, f"{stage.result} was not written"))
    seconds = time.monotonic() - start
    if ended.code:
        say(stage, f"FAILED, {ended.reason}; its last lines:")
        print("\n".join(f"    {line}" for line in ended.last_lines), flush=True)
    else:
        progress.note_finished(directory, stage, digest=setup.digest(cell), seconds=seconds)
        say(stage, f"done in {_clock(seconds)}")
    return ended


class _Says:
    """Prints the lines of one cell."""

    def __init__(self, prefix: str, started: float) -> None:
        self._prefix, self._started = prefix, started

    def __call__(self, stage: Stage, words: str) -> None:
        so_far = _clock(time.monotonic() - self._started)
        print(f"{so_far}  {self._prefix}: {stage.name} {words}", flush=True)


def _clock(seconds: float) -> str:
    return str(datetime.timedelta(seconds=round(seconds)))

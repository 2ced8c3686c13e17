"""Runs a study: cell by cell, stage by stage, without those that are finished."""

import datetime
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from dreamda_jax.reproduce import progress
from dreamda_jax.reproduce.cells import Cell, Setup, Stage, stages, wanted_stages
from dreamda_jax.reproduce.children import Ended, run_child

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

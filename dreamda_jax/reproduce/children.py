"""One command as a child process: its output in a file, and a stop passed on to it."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

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

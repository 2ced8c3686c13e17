"""Says what a job waits for where that takes longer than a moment: compiling, loading."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from dreamda_jax.runtime import program_notes
from dreamda_jax.runtime.program_notes import ProgramNotes

_SILENT_SECONDS = 3.0
_LINE_EVERY_SECONDS = 30.0
_COMPILED_IN = "seconds_to_compile"


@contextlib.contextmanager
def waiting(what: str | Callable[[], str], *, stream: TextIO | None = None) -> Iterator[None]:
    """Speaks up after three seconds, and goes on until the block ends.

    On a terminal it is one line with the seconds gone, which is removed at the end; elsewhere a
    line at once and one every half minute.

    Args:
      what: such as "compiling the training step", or what gives these words anew each time.
      stream: where to write; default standard error.
    """
    out = stream or sys.stderr
    ended = threading.Event()
    started = time.monotonic()
    say = what if callable(what) else lambda: what
    speaker = threading.Thread(target=_speak, args=(say, started, ended, out), daemon=True)
    speaker.start()
    try:
        yield
    finally:
        ended.set()
        speaker.join()


class Compiling:
    """`waiting` for the first of many calls of a program, which compiles it; the others are silent.

    Args:
      what: is compiled, such as "the training step".
      notes: of the program; they tell how long it took the last time, and are told this time's.
    """

    def __init__(self, what: str, notes: ProgramNotes = program_notes.NONE) -> None:
        self._what: str | None = what
        self._notes = notes

    def __call__(self) -> contextlib.AbstractContextManager[None]:
        """To be entered around every call."""
        what, self._what = self._what, None
        return self._first(what) if what else contextlib.nullcontext()

    @contextlib.contextmanager
    def _first(self, what: str) -> Iterator[None]:
        before = self._notes.number(_COMPILED_IN)
        last_time = "" if before is None else f", {before:.0f} s the last time"
        started = time.monotonic()
        with waiting(f"compiling {what}{last_time}"):
            yield
        self._notes.put(**{_COMPILED_IN: time.monotonic() - started})


def _speak(say: Callable[[], str], started: float, ended: threading.Event, out: TextIO) -> None:
    if ended.wait(_SILENT_SECONDS):
        return
    if not out.isatty():
        print(f"{say()} …", file=out, flush=True)
        while not ended.wait(_LINE_EVERY_SECONDS):
            print(f"{say()} … {time.monotonic() - started:.0f} s", file=out, flush=True)
        return
    shown = 0
    while True:
        line = f"{say()} … {time.monotonic() - started:.0f} s"
        print(f"\r{line.ljust(shown)}", end="", file=out, flush=True)
        shown = max(shown, len(line))
        if ended.wait(1.0):
            print(f"\r{' ' * shown}\r", end="", file=out, flush=True)
            return

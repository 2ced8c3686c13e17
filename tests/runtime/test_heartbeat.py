"""Long waits speak up, short ones do not."""

import io
import threading

import pytest

from dreamda_jax.runtime import heartbeat
from dreamda_jax.runtime.heartbeat import Compiling, waiting
from dreamda_jax.runtime.program_notes import ProgramNotes
from tests.support.waiting import HANG_GUARD_SECONDS


class Stream(io.StringIO):
    """Tells when it has been written to `count` times."""

    def __init__(self, *, tty: bool, count: int = 1) -> None:
        super().__init__()
        self._tty, self._left = tty, count
        self.spoken = threading.Event()

    def isatty(self) -> bool:
        return self._tty

    def flush(self) -> None:
        self._left -= 1
        if self._left <= 0:
            self.spoken.set()


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(heartbeat, "_SILENT_SECONDS", 0.0)
    monkeypatch.setattr(heartbeat, "_LINE_EVERY_SECONDS", 0.0)


def test_plain_lines_where_there_is_no_terminal(at_once):
    stream = Stream(tty=False, count=3)
    with waiting("compiling the step", stream=stream):
        assert stream.spoken.wait(HANG_GUARD_SECONDS)
    first, second, *_ = stream.getvalue().splitlines()
    assert first == "compiling the step …"
    assert second.startswith("compiling the step … ")
    assert second.endswith(" s")


def test_one_line_on_a_terminal_that_is_removed(at_once):
    stream = Stream(tty=True)
    with waiting("loading the weights", stream=stream):
        assert stream.spoken.wait(HANG_GUARD_SECONDS)
    shown = stream.getvalue()
    assert shown.startswith("\rloading the weights … ")
    assert "\n" not in shown
    assert shown.endswith(" \r")


def test_a_short_wait_is_silent(monkeypatch):
    # It is shorter than this however busy the machine is.
    monkeypatch.setattr(heartbeat, "_SILENT_SECONDS", HANG_GUARD_SECONDS)
    stream = Stream(tty=False)
    with waiting("nothing", stream=stream):
        pass
    assert stream.getvalue() == ""


def test_an_error_inside_goes_through(at_once):
    def fail() -> None:
        with waiting("what fails", stream=Stream(tty=False)):
            raise KeyError

    with pytest.raises(KeyError):
        fail()


def test_only_the_first_call_compiles(at_once, capsys, monkeypatch):
    stream = Stream(tty=False)
    monkeypatch.setattr("sys.stderr", stream)
    compiling = Compiling("the step")
    with compiling():
        assert stream.spoken.wait(HANG_GUARD_SECONDS)
    said = stream.getvalue()
    assert said.startswith("compiling the step …")
    with compiling():
        pass
    assert stream.getvalue() == said


def test_it_is_said_how_long_compiling_took_the_last_time(at_once, tmp_path, monkeypatch):
    notes = ProgramNotes(tmp_path / "notes.json")
    for said in ("compiling the step …", "compiling the step, 40 s the last time …"):
        stream = Stream(tty=False)
        monkeypatch.setattr("sys.stderr", stream)
        with Compiling("the step", notes)():
            assert stream.spoken.wait(HANG_GUARD_SECONDS)
        assert stream.getvalue().startswith(said)
        assert notes.number("seconds_to_compile") < 40
        notes.put(seconds_to_compile=40.2)

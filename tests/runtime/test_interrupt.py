"""A signal ends a job at a clean point; one that was done by then is done."""

import os
import signal
import threading

import pytest

from dreamda_jax.runtime import interrupt
from tests.support.waiting import HANG_GUARD_SECONDS


@pytest.fixture(autouse=True)
def long_grace(monkeypatch):
    """The end of the real one would end the process of the tests."""
    monkeypatch.setattr(interrupt, "_GRACE_SECONDS", HANG_GUARD_SECONDS)


def job(result):
    """Signals its own process, waits to be told, and ends with `result`."""

    def work(stop):
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(HANG_GUARD_SECONDS)
        return result

    return work


def test_a_job_with_work_left_is_stopped(capsys):
    assert interrupt.exit_code(job(None)) == 128 + signal.SIGTERM
    assert "run the same command again" in capsys.readouterr().out


def test_a_job_that_was_done_by_then_is_done(capsys):
    assert interrupt.exit_code(job(0)) == 0
    assert "stopped by" not in capsys.readouterr().out
    # What would have ended the process after the grace is over.
    timers = [each for each in threading.enumerate() if isinstance(each, threading.Timer)]
    assert all(each.finished.is_set() for each in timers)  # by being cancelled


def test_handlers_are_as_before():
    before = signal.getsignal(signal.SIGTERM)
    interrupt.exit_code(job(0))
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_error_passes():
    def fail(stop):
        raise ValueError("of the job")

    with pytest.raises(ValueError, match="of the job"):
        interrupt.run_interruptibly(fail)

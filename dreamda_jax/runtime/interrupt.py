"""Ctrl-C and SIGTERM: stop at a clean point, and in any case within the grace a scheduler gives."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator

_GRACE_SECONDS = 25.0


class Stopped(Exception):
    """The job was asked to stop and did; `signum` says by what."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


@contextlib.contextmanager
def _handlers(handle: Callable) -> Iterator[None]:
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {signum: signal.signal(signum, handle) for signum in signals}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _give_up(signum: int) -> None:
    print(
        f"ended in the middle of something, {_GRACE_SECONDS:.0f} s after it was asked to stop; "
        "what had been written is complete: run the same command again to continue",
        flush=True,
    )
    os._exit(128 + signum)


def run_interruptibly(job: Callable[[threading.Event], int | None]) -> int:
    """Runs `job(stop)` so that Ctrl-C and SIGTERM set `stop`, which it must look at now and then.

    The job returns None if it ended before its work was done, else an exit code.

    The job runs in a thread of its own: a signal is then heard even while XLA compiles or computes.
    A job that does not end within 25 s, or a second signal, ends the process at once; what is on
    the disk is complete at every moment, so nothing is lost but the work in hand.

    Raises:
      Stopped: the job has ended with work left to do.
    """
    stop = threading.Event()
    result: list[int | None] = []
    errors: list[BaseException] = []
    signums: list[int] = []
    timers: list[threading.Timer] = []

    def work() -> None:
        try:
            result.append(job(stop))
        except BaseException as error:
            errors.append(error)

    def handle(signum: int, _: object) -> None:
        if signums:
            os._exit(128 + signum)
        signums.append(signum)
        stop.set()
        print("\nstopping; once more to stop at once", file=sys.stderr, flush=True)
        timer = threading.Timer(_GRACE_SECONDS, _give_up, args=(signum,))
        timer.daemon = True
        timers.append(timer)
        timer.start()

    thread = threading.Thread(target=work, name="job", daemon=True)
    with _handlers(handle):
        thread.start()
        while thread.is_alive():
            thread.join(timeout=0.2)  # a join without a timeout would hold back the handler
    for timer in timers:
        timer.cancel()
    if errors:
        raise errors[0]
    if result[0] is None:  # or another process of the job was signalled
        raise Stopped(signums[0] if signums else signal.SIGTERM)
    return result[0]


def exit_code(job: Callable[[threading.Event], int | None]) -> int:
    """Runs a job interruptibly and says what its process should exit with; see above."""
    try:
        return run_interruptibly(job)
    except Stopped as stopped:
        print(f"stopped by {stopped}; run the same command again to continue")
        return 128 + stopped.signum

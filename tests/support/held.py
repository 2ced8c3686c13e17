"""A command of the package that stands still in its middle until a test ends it.

    python -m tests.support.held PATTERN COUNT COMMAND ARGUMENTS

is `python -m dreamda_jax.COMMAND ARGUMENTS`, which works until COUNT files match PATTERN and at the
next place where it asks whether to stop waits for the signal. However late a test wakes up that
waited for those files, the command is still at work.
"""

import glob
import runpy
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.support.waiting import HANG_GUARD_SECONDS


class HeldStop:
    """A job's `stop` that answers, once `count` files match `pattern`, only when it is set."""

    def __init__(self, stop: threading.Event, pattern: str, count: int = 1) -> None:
        self._stop, self._pattern, self._count = stop, pattern, count

    def is_set(self) -> bool:
        if len(glob.glob(self._pattern)) >= self._count:
            assert self._stop.wait(HANG_GUARD_SECONDS), "nobody ended what was held"
        return self._stop.is_set()


def held(command: Sequence[str], files: Path, *, count: int = 1) -> list[str]:
    """Of `python -m dreamda_jax.COMMAND ARGUMENTS` the command line that is held.

    Args:
      command: to run, from the root of the repository.
      files: a pattern, as in `directory / "done" / "*.json"`.
      count: of the files that match it.
    """
    python, _, module, *arguments = command
    name = module.removeprefix("dreamda_jax.")
    return [python, "-m", "tests.support.held", str(files), str(count), name, *arguments]


def _main() -> None:
    from dreamda_jax.runtime import interrupt

    pattern, count, name = (sys.argv.pop(1) for _ in range(3))
    exit_code = interrupt.exit_code

    def exit_code_of_held(job: Callable[[threading.Event], int | None]) -> int:
        return exit_code(lambda stop: job(HeldStop(stop, pattern, int(count))))

    interrupt.exit_code = exit_code_of_held
    # A loaded machine may take longer to end cleanly than a scheduler gives a job.
    interrupt._GRACE_SECONDS = HANG_GUARD_SECONDS
    runpy.run_module(f"dreamda_jax.{name}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()

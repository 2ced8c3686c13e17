"""A test waits until something holds, however long a loaded machine takes; never for a clock."""

import subprocess
import time
from collections.abc import Callable

HANG_GUARD_SECONDS = 20 * 60.0
"""Ends what would otherwise hang for ever. Nothing is timed with it: no right answer comes near."""

_LOOK_EVERY_SECONDS = 0.01


def wait_until(holds: Callable[[], object], *processes: subprocess.Popen) -> None:
    """Returns as soon as `holds()` is true, which these processes work towards.

    Args:
      holds: looks, and changes nothing; of two threads or processes the other one makes it true.
      processes: must live until then. Where the test fails here, they are killed.

    Raises:
      AssertionError: one of them ended before; its exit code and what it printed into pipes.
    """
    guard = time.monotonic() + HANG_GUARD_SECONDS
    while not holds():
        ended = [process for process in processes if process.poll() is not None]
        if ended and holds():  # the last thing that it did
            return
        if ended or time.monotonic() > guard:
            for process in processes:
                process.kill()
            said = [f"exit code {each.returncode}: {each.communicate()}" for each in ended]
            raise AssertionError(f"ended too early: {said}" if ended else "it hangs")
        time.sleep(_LOOK_EVERY_SECONDS)

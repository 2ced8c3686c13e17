"""A command of `dreamda_jax` that leaves in a file what JAX counted and when it got how far.

    python benchmarks/counted_command.py counts.json generate --config configs/fashion.py

Counts are by JAX's event, such as /jax/compilation_cache/cache_hits. Beside them the CPU seconds of
the process (all threads; not those of worker processes) when its first program had been started,
which is when it was compiled or found, and at the end. benchmarks/start_up.py and
tests/runtime/test_compilation_cache.py read them.
"""

import atexit
import collections
import contextlib
import json
import runpy
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from dreamda_jax.runtime import heartbeat

FIRST_BATCH = "cpu_seconds_to_first_batch"
END = "cpu_seconds"


@contextlib.contextmanager
def _timed(inner: contextlib.AbstractContextManager[Any], seen: dict[str, float]) -> Iterator[None]:
    with inner:
        yield
    seen.setdefault(FIRST_BATCH, time.process_time())


def main() -> None:
    """Runs the command named by the second argument with those after it."""
    events: collections.Counter[str] = collections.Counter()
    seen: dict[str, float] = {}
    jax.monitoring.register_event_listener(lambda event, **_: events.update([event]))
    start = heartbeat.Compiling.__call__
    heartbeat.Compiling.__call__ = lambda self: _timed(start(self), seen)  # type: ignore[method-assign]
    target, name = Path(sys.argv.pop(1)), sys.argv.pop(1)

    def write() -> None:
        target.write_text(json.dumps({**events, **seen, END: time.process_time()}))

    atexit.register(write)
    runpy.run_module(f"dreamda_jax.{name}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

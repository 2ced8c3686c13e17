"""How the sections time: compiled beforehand, in alternation, the median of repeats.

What is compared is timed in turn, so that a card that warms up or is shared slows all of it alike.
The first round is left out. A round of one thing is a loop of calls between two moments at which
the device has nothing to do; each call's input is the last one's output, so that no call can be
left out or overlap with the next. Nothing may be compiled, and with it no kernel tried out, while a
round runs: JAX's own events say so, and `CompiledInsideTimingError` is raised.
"""

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax

from dreamda_jax.plan.compiling import Memory, memory_of

REPEATS = 5
_COMPILED = "/jax/core/compile/backend_compile_duration"
_FOUND_IN_CACHE = "/jax/compilation_cache/cache_hits"
_MOST_CALLS = 50

Loop = Callable[[int], Any]
"""`loop(calls)`: so many calls, the last result awaited."""


class CompiledInsideTimingError(RuntimeError):
    """Something was compiled while a clock ran: the figure would not be a program's time."""


class Clock:
    """Until when a section may begin something new.

    Args:
      seconds: from now on.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds; not above 0 once it is time to end."""
        return self._end - time.monotonic()


class Program(NamedTuple):
    """A compiled program.

    Attributes:
      call: it.
      seconds: that compiling took, lowering left out.
      was_cached: it was found in JAX's cache on the disk, so that `seconds` says little.
      memory: what the compiler says a device needs, which is what `dreamda_jax.plan` reports.
    """

    call: Callable[..., Any]
    seconds: float
    was_cached: bool
    memory: Memory


class Timed(NamedTuple):
    """Seconds of one call.

    Attributes:
      seconds: the median of the repeats.
      low: the smallest of them.
      high: the largest.
      calls: in each repeat.
    """

    seconds: float
    low: float
    high: float
    calls: int


def compile_program(function: Callable[..., Any], *arguments: Any) -> Program:
    """Compiles a function for arguments that lie on the device.

    Args:
      function: traceable by JAX.
      *arguments: arrays.
    """
    return compile_lowered(jax.jit(function).lower(*arguments))


def compile_lowered(lowered: Any) -> Program:
    """Compiles a `jax.stages.Lowered`."""
    found: list[str] = []
    start = time.monotonic()
    with _listening(found.append):
        compiled = lowered.compile()
    seconds = time.monotonic() - start
    return Program(compiled, seconds, _FOUND_IN_CACHE in found, memory_of(compiled, resident=0))


def chain(call: Callable[[Any], Any], start: Any) -> Loop:
    """A loop in which every call's argument is the last one's result, over all loops.

    Args:
      call: of arrays on the device; gives what it takes.
      start: the first argument; consumed where `call` donates it.
    """
    current = start

    def loop(calls: int) -> Any:
        nonlocal current
        for _ in range(calls):
            current = call(current)
        return jax.block_until_ready(current)

    return loop


def repeat(call: Callable[[], Any]) -> Loop:
    """A loop of calls on the same arguments, for what does not return what it takes."""

    def loop(calls: int) -> Any:
        return jax.block_until_ready([call() for _ in range(calls)])

    return loop


def alternate(
    loops: Mapping[str, Loop], *, seconds: float = 0.5, repeats: int = REPEATS
) -> dict[str, Timed]:
    """Times several loops in turn.

    Args:
      loops: by name; their programs are compiled.
      seconds: that a loop should last, which decides how many calls it makes.
      repeats: rounds that count; one more is run first.

    Raises:
      CompiledInsideTimingError: see the module.
    """
    counts = {}
    for name, loop in loops.items():
        loop(1)  # what a first call loads is not timed
        start = time.monotonic()
        loop(1)
        once = time.monotonic() - start
        counts[name] = max(1, min(_MOST_CALLS, round(seconds / max(once, 1e-9))))
    measured: dict[str, list[float]] = {name: [] for name in loops}
    with nothing_compiled():
        for _ in range(1 + repeats):
            for name, loop in loops.items():
                start = time.perf_counter()
                loop(counts[name])
                measured[name].append((time.perf_counter() - start) / counts[name])
    return {
        name: Timed(statistics.median(kept), min(kept), max(kept), counts[name])
        for name, kept in ((name, values[1:]) for name, values in measured.items())
    }


@contextlib.contextmanager
def nothing_compiled() -> Iterator[None]:
    """Raises `CompiledInsideTimingError` at its end if JAX compiled anything within."""
    found: list[str] = []
    with _listening(found.append):
        yield
    if _COMPILED in found:
        raise CompiledInsideTimingError(
            f"{found.count(_COMPILED)} programs were compiled while a clock ran"
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device had too little memory for a program or for its arguments."""
    message = str(error)
    return "RESOURCE_EXHAUSTED" in message or "out of memory" in message.lower()


@contextlib.contextmanager
def _listening(hear: Callable[[str], None]) -> Iterator[None]:
    def hear_event(event: str, **_: Any) -> None:
        hear(event)

    def hear_duration(event: str, duration_secs: float, **kwargs: Any) -> None:
        hear(event)

    jax.monitoring.register_event_listener(hear_event)
    jax.monitoring.register_event_duration_secs_listener(hear_duration)
    try:
        yield
    finally:
        jax.monitoring.unregister_event_listener(hear_event)
        jax.monitoring.unregister_event_duration_listener(hear_duration)

"""The largest batch of a device that fits, with few compilations."""

from collections.abc import Callable
from typing import NamedTuple

from dreamda_jax.plan.compiling import Compiled, TooLarge

Compile = Callable[[int], Compiled | TooLarge]
_TRIES = 3  # compilations beside the first two: minutes each for a full model


class Largest(NamedTuple):
    """What the search came to.

    Attributes:
      size: the largest that was compiled and fits; 0 if none does.
      too_large: the smallest that was compiled and does not fit; None if all fitted.
    """

    size: int
    too_large: int | None


def largest_batch(compile_size: Compile, first: int, *, memory: float, divides: int = 0) -> Largest:
    """Looks for the largest size whose program fits.

    Memory grows all but linearly with the size, so two compiled sizes tell about where it ends;
    that size is compiled as well, and the next guess is made from what it took.

    Args:
      compile_size: compiles a size; called once for each.
      first: a size to begin with, such as the configured one.
      memory: bytes that a program may take.
      divides: only divisors of this are looked at; 0: all sizes.
    """
    totals: dict[int, float] = {}

    def fits(size: int) -> bool:
        if size not in totals:
            found = compile_size(size)
            if isinstance(found, Compiled):
                totals[size] = found.memory.total
            else:
                totals[size] = max(found.needed or 0, memory * 1.001)
        return totals[size] <= memory

    size = first
    while not fits(size) and size > 1:
        size = _allowed(size // 2, divides)
    if totals[size] > memory:
        return Largest(0, size)
    if len(totals) == 1:
        fits(_next(size, divides))
    for _ in range(_TRIES):
        good = max(each for each, total in totals.items() if total <= memory)
        bad = min((each for each, total in totals.items() if total > memory), default=None)
        guess = _allowed(_estimate(totals, memory), divides)
        if bad is not None:
            guess = min(guess, _allowed(bad - 1, divides))
        if guess <= good:
            guess = _next(good, divides)
        if guess in totals:
            break
        fits(guess)
    too_large = [each for each, total in totals.items() if total > memory]
    good = max(each for each, total in totals.items() if total <= memory)
    return Largest(good, min(too_large, default=None))


def _estimate(totals: dict[int, float], memory: float) -> int:
    """Where the line through the two sizes nearest to the limit meets it."""
    nearest = sorted(totals, key=lambda size: abs(totals[size] - memory))[:2]
    low, high = sorted(nearest)
    slope = (totals[high] - totals[low]) / (high - low) if high > low else 0.0
    if slope <= 0:
        return 2 * high
    return max(1, int(low + (memory - totals[low]) / slope))


def _allowed(size: int, divides: int) -> int:
    size = max(1, size)
    return size if not divides else max(d for d in range(1, size + 1) if divides % d == 0)


def _next(size: int, divides: int) -> int:
    if not divides:
        return 2 * size
    return min((d for d in range(size + 1, divides + 1) if divides % d == 0), default=size)

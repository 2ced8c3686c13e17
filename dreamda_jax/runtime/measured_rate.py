"""How fast the devices that are here multiply matrices and move memory: measured, in a second.

For devices whose rates nobody prints, such as a machine's CPU. What is measured is what XLA reaches
and not what the hardware could do: a roofline drawn with it is a bound for programs that are made
of such products.

All local devices work at once and each gets its share of what they reach together, since several
CPU devices of one process share its cores and its memory.
"""

import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dreamda_jax.runtime import devices

SOURCE = "measured here"
"""The `source` of a `chips.Chip` whose rates are from this file."""

_REPEATS = 5  # the fastest of so many: a bound is asked for, whatever else the machine does
_SMALLEST, _LARGEST = 512, 16_384  # rows of a matrix
_LONG_ENOUGH = 0.01  # seconds of a product, beside which starting it is nothing
_MOVED = 1 << 28  # bytes of all devices' arrays together: more than caches hold


def product_rate(dtype: str) -> float:
    """FLOP/s of one local device in a square matrix product, while all of them compute one.

    The matrices grow until a product takes a hundredth of a second; the fastest of five products of
    that size counts.

    Args:
      dtype: of the matrices and of the result, such as "float32" or "bfloat16".
    """
    multiply = devices.map_devices(lambda left, right: left @ right, (devices.WHOLE, devices.WHOLE))
    size = _SMALLEST
    while True:
        matrix = devices.replicate(np.ones((size, size), jnp.dtype(dtype)))
        product = functools.partial(multiply, matrix, matrix)
        _seconds(product)  # compiles
        if _seconds(product) >= _LONG_ENOUGH or size >= _LARGEST:
            return 2.0 * size**3 / _least(product)
        size *= 2


def memory_rate() -> float:
    """Bytes/s of one local device, while all of them go through an array larger than any cache.

    Every number is read, negated and written back to its place, so that each byte counts twice, as
    `plan` counts a program's operands and results. A new array would measure how fast the system
    hands out memory.
    """
    count = _MOVED // devices.local_device_count() // np.dtype(np.float32).itemsize
    negate = devices.map_devices(lambda x: -x, (devices.ROWS,), donate=(0,))
    fill = devices.map_devices(lambda value: jnp.full(count, value), (devices.WHOLE,))
    held = [fill(devices.replicate(np.ones((), np.float32)))]

    def in_place() -> Any:
        held.append(negate(held.pop()))
        return held[0]

    _seconds(in_place)  # compiles
    return 2.0 * count * np.dtype(np.float32).itemsize / _least(in_place)


def _least(run: Callable[[], Any]) -> float:
    return min(_seconds(run) for _ in range(_REPEATS))


def _seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - start

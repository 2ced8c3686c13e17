"""b  What the card can do at most: a large matrix product, a large copy.

The product's right factor is random, scaled so that the chain of products keeps an RMS of 1. The
copy changes the sign, so that it cannot be left out: every byte is read once and written once.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.accelerator_check import timing
from benchmarks.accelerator_check.report import NO_TIME, Section
from benchmarks.accelerator_check.setup import Setup

TITLE = "ceilings: a large matrix product, a large copy"


def measure(setup: Setup, section: Section, clock: timing.Clock) -> None:
    """One row for the product of each dtype and one for the copy."""
    for dtype in dict.fromkeys((*setup.dtypes, "float32")):
        if clock.left <= 0:
            section.row(what=f"product, {dtype}", unit=NO_TIME)
            continue
        sheet = setup.chip and setup.chip.flops.get(dtype)
        rate = product_rate(setup, dtype)
        section.row(
            what=f"product of {setup.size.matrix_side}², {dtype}",
            rate=rate / 1e12,
            unit="TFLOP/s",
            data_sheet=sheet and sheet / 1e12,
            share=sheet and rate / sheet,
        )
        section.figures[f"product_tflops_{dtype}"] = rate / 1e12
    sheet = setup.chip and setup.chip.bandwidth
    bandwidth = copy_rate(setup)
    section.row(
        what=f"copy of {setup.size.copy_bytes / 1e9:.3g} GB",
        rate=bandwidth / 1e12,
        unit="TB/s",
        data_sheet=sheet / 1e12 if sheet else None,
        share=bandwidth / sheet if sheet else None,
    )
    section.figures["copy_tb_per_second"] = bandwidth / 1e12


def product_rate(setup: Setup, dtype: str) -> float:
    """FLOP/s of a matrix product, measured once for each dtype."""
    if dtype not in setup.product_rates:
        side = setup.size.matrix_side
        key = jax.device_put(jax.random.key(0, impl="rbg"), setup.device)

        def factors(key: jax.Array) -> tuple[jax.Array, jax.Array]:
            left, right = (
                jax.random.normal(part, (side, side), jnp.float32) for part in jax.random.split(key)
            )
            return left.astype(dtype), (right * side**-0.5).astype(dtype)

        left, right = jax.block_until_ready(jax.jit(factors)(key))
        program = timing.compile_program(jnp.matmul, left, right)
        loop = timing.chain(lambda product: program.call(product, right), left)
        seconds = _seconds(setup, loop)
        setup.product_rates[dtype] = 2 * side**3 / seconds
    return setup.product_rates[dtype]


def copy_rate(setup: Setup) -> float:
    """Bytes/s read and written by a copy."""
    length = setup.size.copy_bytes // 4
    ones = jax.jit(functools.partial(jnp.ones, (length,), jnp.float32), device=setup.device)()
    program = timing.compile_program(jnp.negative, ones)
    return 2 * setup.size.copy_bytes / _seconds(setup, timing.chain(program.call, ones))


def _seconds(setup: Setup, loop: Any) -> float:
    return timing.alternate({"": loop}, seconds=setup.loop_seconds)[""].seconds

"""c  Rows/s of the U-Net alone, and what share of the card's peak that is.

One program a batch size, its output the next call's input. All sizes are timed in turn. "Compiler"
is what the compiler says that the program needs, parameters included, which is what
`python -m dreamda_jax.plan` reports; "peak" is the most that the process held. JAX never resets
that figure, so sizes run in ascending order, and a peak that an earlier program had set is given as
a bound.
"""

from typing import Any

import jax

from benchmarks.accelerator_check import ceilings, timing, weights
from benchmarks.accelerator_check.report import NO_TIME, Section
from benchmarks.accelerator_check.setup import Setup

TITLE = "the U-Net: rows/s, share of peak, memory"


def measure(setup: Setup, section: Section, clock: timing.Clock) -> None:
    """One row for each dtype and batch size."""
    section.figures["row_tflop"] = setup.row_flops / 1e12
    for dtype in setup.dtypes:
        low, high = setup.full_call(dtype).rms
        section.say(f"{dtype}: RMS of the blocks' outputs {low:.2f} to {high:.2f}")
        _measure_dtype(setup, section, clock, dtype)
        setup.drop(dtype)


def _measure_dtype(setup: Setup, section: Section, clock: timing.Clock, dtype: str) -> None:
    found: dict[int, dict[str, Any]] = {}
    loops: dict[str, timing.Loop] = {}
    for rows in sorted(setup.rows):
        if clock.left <= 0:
            found[rows] = {"note": NO_TIME}
            continue
        try:
            found[rows], loop = _compile(setup, dtype, rows)
        except Exception as error:  # each backend has a type of its own
            if not timing.is_out_of_memory(error):
                raise
            found[rows] = {"note": "out of memory"}
            section.say(f"{dtype}, {rows} rows: {' '.join(str(error).split())[:200]}")
            continue
        section.say(f"{dtype}, {rows} rows: compiled in {found[rows]['compiled_s']:.1f} s")
        if loop is not None:
            loops[str(rows)] = loop
    timed = timing.alternate(loops, seconds=setup.loop_seconds)
    product = _product_rate(setup, dtype)
    for rows, columns in found.items():
        speed = _speed(setup, dtype, rows, timed[str(rows)], product) if str(rows) in timed else {}
        section.row(dtype=dtype, rows=rows, **speed, **columns)


def _compile(setup: Setup, dtype: str, rows: int) -> tuple[dict[str, Any], timing.Loop | None]:
    """Compiles and runs once.

    Returns:
      (columns about memory and compilation, the loop to be timed; None where it does not fit).
    """
    model, params = setup.model(dtype), setup.unet(dtype)
    latents, context = weights.inputs(model, setup.size, rows, device=setup.device)

    def step(params: Any, latents: Any, context: Any) -> jax.Array:
        return model.denoise(params, latents, 500, context)

    before = _peak(setup.device)
    program = timing.compile_program(step, params, latents, context)
    needed, limit = program.memory.total, setup.memory_limit
    columns: dict[str, Any] = {
        "compiled_s": program.seconds,
        "from_cache": "yes" if program.was_cached else "no",
        "compiler_gb": needed / 1e9,
    }
    if limit is not None and needed > limit:
        return columns | {"note": f"does not fit into {limit / 1e9:.1f} GB"}, None
    loop = timing.chain(lambda latents: program.call(params, latents, context), latents)
    loop(1)
    after = _peak(setup.device)
    if after is not None and before is not None:
        columns["peak_gb"] = after / 1e9
        columns["peak_is_bound"] = "yes" if after == before else "no"
    return columns, loop


def _product_rate(setup: Setup, dtype: str) -> float | None:
    try:
        return ceilings.product_rate(setup, dtype)
    except Exception as error:  # each backend has a type of its own
        if not timing.is_out_of_memory(error):
            raise
        return None


def _speed(
    setup: Setup, dtype: str, rows: int, timed: timing.Timed, product: float | None
) -> dict[str, Any]:
    rate = rows / timed.seconds
    setup.rows_per_second = max(setup.rows_per_second, rate)
    flops = rate * setup.row_flops
    sheet = setup.chip and setup.chip.flops.get(dtype)
    return {
        "ms_a_call": 1e3 * timed.seconds,
        "rows_per_s": rate,
        "lowest": rows / timed.high,
        "highest": rows / timed.low,
        "tflops": flops / 1e12,
        "of_product": product and flops / product,
        "of_data_sheet": sheet and flops / sheet,
    }


def _peak(device: Any) -> int | None:
    stats = device.memory_stats()
    return None if not stats else stats.get("peak_bytes_in_use")

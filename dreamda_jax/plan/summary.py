"""What a plan says: does the job fit, and what will it take."""

from collections.abc import Mapping

from dreamda_jax.plan.batch_search import Largest
from dreamda_jax.plan.compiling import Compiled, TooLarge
from dreamda_jax.plan.job import Job, Program
from dreamda_jax.plan.roofline import Duration, Roofline
from dreamda_jax.plan.targets import Target
from dreamda_jax.plan.traffic import Collective, Traffic
from dreamda_jax.runtime.chips import GPU_SHARE, Chip
from dreamda_jax.runtime.readable import readable_bytes


def start(target: Target, job: Job, *, num_hosts: int) -> str:
    """What is planned, and what was assumed."""
    chip = target.chip
    hosts = f" on {num_hosts} hosts" if num_hosts > 1 else ""
    share = f" ({GPU_SHARE:.0%} of the card, as JAX takes)" if chip.platform == "cuda" else ""
    lines = [
        (
            "target",
            f"{target.name}: {target.num_devices} x {chip.description}{hosts}, "
            f"{readable_bytes(chip.memory)} each{share}",
        ),
        *_rates(chip, job.dtype),
        *job.about,
        *(("assumed", text) for text in job.assumed),
    ]
    return _lines(lines)


def compiled(size: int, found: Compiled | TooLarge, job: Job) -> str:
    """One compilation of a search."""
    what = f"with {size} {job.rows} on each device"
    if isinstance(found, TooLarge):
        needed = "more than there is" if found.needed is None else readable_bytes(found.needed)
        return _lines([("compiled", f"{what}: needs {needed} ({found.seconds:.0f} s)")])
    return _lines(
        [("compiled", f"{what}: {readable_bytes(found.memory.total)} ({found.seconds:.0f} s)")]
    )


def memory(target: Target, job: Job, found: Compiled | TooLarge, largest: Largest | None) -> str:
    """Whether the job fits as configured, why, and what the largest batch is."""
    limit = target.chip.memory
    lines = []
    if isinstance(found, Compiled):
        of = found.memory
        parts = {
            "arguments": of.arguments,
            "temporary": of.temporary,
            "results": of.outputs,
            "code": of.code,
            "resident beside it": of.resident,
        }
        named = ", ".join(f"{readable_bytes(size)} {what}" for what, size in parts.items() if size)
        lines.append(("memory", f"{readable_bytes(of.total)} on each device: {named}"))
        lines.append(("fits", _verdict(of.total, limit)))
    else:
        lines.append(("fits", _verdict(found.needed, limit)))
    if largest is not None:
        lines.append(("largest", _largest(job, largest)))
    return _lines(lines)


def parameters_only(target: Target, job: Job) -> str:
    """The verdict without a compiler: what must be there before the first activation."""
    size, limit = job.parameter_bytes, target.chip.memory
    verdict = "they alone do not fit" if size > limit else "the rest is not known without compiling"
    return _lines(
        [
            (
                "memory",
                f"{readable_bytes(size)} of parameters and state on each device, of "
                f"{readable_bytes(limit)}: {verdict}",
            )
        ]
    )


def speed(target: Target, job: Job, program: Program, bound: Roofline, *, counted: bool) -> str:
    """TFLOP and the roofline of an image."""
    per_image = bound.seconds / program.images
    rate = 1 / per_image
    chip = target.chip
    here = f", as {chip.source}" if chip.platform == "cpu" else ""
    limit = {
        "compute": "operations at the peak rate",
        "memory": "memory traffic at full bandwidth",
    }[bound.limited_by]
    traffic = "" if counted else ", memory traffic not counted"
    return _lines(
        [
            (
                "roofline",
                f"at least {per_image:.3g} s per image and device ({limit}{here}{traffic}; "
                f"{program.flops / program.images / 1e12:.4g} TFLOP at "
                f"{_teraflops(chip.peak(job.dtype))} "
                f"alone take {bound.compute_seconds / program.images:.3g} s)",
            ),
            (
                "rate",
                f"at most {_number(rate)} images/s per device, "
                f"{_number(rate * target.num_devices)} for the job{here}",
            ),
        ]
    )


def whole_job(
    least: Duration, *, utilization: float, price_per_hour: float | None, num_images: int
) -> str:
    """Hours, device-hours and money: the bound, and an estimate under an assumption."""
    likely = least.at(utilization)
    lines = [
        ("time", f"at least {_hours(least)}"),
        ("", f"about {_hours(likely)} if {utilization:.0%} of the roofline is reached (assumed)"),
    ]
    if price_per_hour is not None:
        low, high = (each.device_hours * price_per_hour for each in (least, likely))
        thousands = num_images / 1000
        lines += [
            (
                "price",
                f"at least {low:,.2f}, about {high:,.2f} at {price_per_hour:g} per device and hour",
            ),
            (
                "",
                f"at least {_number(low / thousands)}, about {_number(high / thousands)} for "
                "1,000 images",
            ),
        ]
    return _lines(lines)


def end(job: Job, traffic: Traffic | None) -> str:
    """Bytes on the disk, and messages between devices."""
    lines = [("disk", f"about {readable_bytes(job.num_bytes)}: {job.written}")]
    if traffic is not None:
        lines.append(("collectives", _collectives(traffic.collectives)))
        if traffic.unknown_loops:
            lines.append(
                (
                    "note",
                    f"{traffic.unknown_loops} loops whose length is not in the program count once: "
                    "memory traffic and collectives are too low",
                )
            )
    return _lines(lines)


def _rates(chip: Chip, dtype: str) -> list[tuple[str, str]]:
    rates = [f"{_teraflops(chip.peak(dtype))} in {dtype}"]
    others = {other: rate for other, rate in chip.flops.items() if other != dtype}
    rates += [f"{_teraflops(rate)} in {other}" for other, rate in others.items()]
    bandwidth = f"{_number(chip.bandwidth / 1e9)} GB/s"
    lines = [("peaks", f"{', '.join(rates)}, {bandwidth} ({chip.source})")]
    if dtype not in chip.flops:
        lines.append(
            (
                "note",
                f"no unit of this device multiplies {dtype}: XLA converts to float32, whose rate "
                "counts",
            )
        )
    return lines


def _teraflops(rate: float) -> str:
    return f"{_number(rate / 1e12)} TFLOP/s"


def _verdict(needed: float | None, limit: float) -> str:
    if needed is None:
        return f"no: needs more than the {readable_bytes(limit)} of a device"
    if needed > limit:
        return (
            f"no: needs {readable_bytes(needed)} of {readable_bytes(limit)} on each device, "
            f"{readable_bytes(needed - limit)} too much"
        )
    return f"yes: {needed / limit:.0%} of {readable_bytes(limit)}"


def _largest(job: Job, largest: Largest) -> str:
    if not largest.size:
        return f"not even one of the {job.rows} fits on a device"
    beyond = ""
    if largest.too_large is not None:
        beyond = f"; {largest.too_large} were compiled too and do not"
    return f"{largest.size} {job.rows} on each device fit{beyond} ({job.field})"


def _collectives(found: Mapping[str, Collective]) -> str:
    if not found:
        return "none"
    return ", ".join(
        f"{kind} x {each.times:,} ({readable_bytes(each.num_bytes)} from each device in a call)"
        for kind, each in found.items()
    )


def _hours(duration: Duration) -> str:
    return f"{_time(duration.hours)}, {_number(duration.device_hours)} device-hours"


def _time(hours: float) -> str:
    for unit, size in (("h", 1.0), ("min", 60.0)):
        if hours * size >= 1:
            return f"{_number(hours * size)} {unit}"
    return f"{_number(hours * 3600)} s"


def _number(value: float) -> str:
    """Three digits, or all of them before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _lines(lines: list[tuple[str, str]]) -> str:
    return "\n".join(f"{label:12}{text}" for label, text in lines)

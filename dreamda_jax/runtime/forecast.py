"""How long a job will take, said before it begins.

Best is what the last run of the same program on the same devices took. Without one it is the least
time that the operations can take at the devices' rate, which is a bound and called one; the
progress bar then goes by the first batches or steps.
"""

from typing import NamedTuple

from dreamda_jax.runtime import devices, measured_rate, program_notes
from dreamda_jax.runtime.readable import readable_flops, readable_seconds, until_clock

HOUR = 3600.0
"""Seconds after which a job on a CPU comes with a hint."""


class Forecast(NamedTuple):
    """What is to come.

    Attributes:
      each: seconds of a unit, on all devices of the job together.
      unit: "image" or "step".
      units: how many.
      basis: what it follows from, in words.
      is_bound: whether it is the least that it can take.
    """

    each: float
    unit: str
    units: float
    basis: str
    is_bound: bool

    @property
    def seconds(self) -> float:
        """In all."""
        return self.each * self.units


def from_last_run(each: float, *, unit: str, count: float) -> Forecast:
    """What is known from an earlier run of the program on devices like these.

    Args:
      each: seconds of a unit then.
      unit: "image" or "step".
      count: units to come.
    """
    return Forecast(each, unit, count, "as in the last run of this program here", is_bound=False)


def from_operations(
    flops: float, *, unit: str, count: float, dtype: str, num_devices: int
) -> Forecast | None:
    """The least time that the operations of each unit take.

    Args:
      flops: of a unit.
      unit: "image" or "step".
      count: units to come.
      dtype: of the matrix products.
      num_devices: that share the work.

    Returns:
      None on devices whose rate is not known and cannot be measured.
    """
    found = _rate(dtype)
    if found is None:
        return None
    rate, source = found
    basis = f"a bound: operations alone, at {readable_flops(rate)}/s {source}"
    return Forecast(flops / (rate * num_devices), unit, count, basis, is_bound=True)


def lines(found: Forecast | None, *, label_width: int) -> list[str]:
    """What a summary says of it: a line, and another if that is long for a CPU.

    Args:
      found: None: nothing is known.
      label_width: of the summary's first column.
    """
    if found is None:
        words = "not known before the first batches: nothing was noted of devices of this kind"
        return [f"{'time':<{label_width}}{words}"]
    least = "at least " if found.is_bound else ""
    words = f"{least}{readable_seconds(found.each)} per {found.unit}, "
    words += f"{readable_seconds(found.seconds)} in all"
    words += "" if found.is_bound else f", {until_clock(found.seconds)}"
    said = [f"{'time':<{label_width}}{words} ({found.basis})"]
    hint = hint_for_long()
    if found.seconds > HOUR and hint is not None:
        said.append(f"{'warning':<{label_width}}{hint}")
    return said


def hint_for_long() -> str | None:
    """What to say of a job that takes more than an hour; None where that is no surprise."""
    if devices.platform() != "cpu":
        return None
    return (
        "this takes more than an hour on a CPU: begin with fewer images or steps, or see what an "
        "accelerator takes by python -m dreamda_jax.plan"
    )


def _rate(dtype: str) -> tuple[float, str] | None:
    """(FLOP/s of one device, where that is from)."""
    chip = devices.chip()
    if chip is not None:
        return chip.peak(dtype), f"of {chip.description}"
    if devices.platform() != "cpu":
        return None
    notes = program_notes.notes_of("product rate", {"dtype": dtype})
    rate = notes.number("flops")
    if rate is None:
        rate = measured_rate.product_rate(dtype)
        notes.put(flops=rate)
    return rate, measured_rate.SOURCE

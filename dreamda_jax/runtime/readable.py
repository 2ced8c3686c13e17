"""Rates, sizes, operations and times in words."""

import datetime


def readable_rate(per_second: float, unit: str = "image") -> str:
    """Such as "12.34 images/s"; three digits of what is slow, as large images on a CPU are."""
    digits = ".2f" if per_second >= 0.1 else ".3g"
    return f"{per_second:{digits}} {unit}s/s"


def readable_bytes(count: float) -> str:
    """Such as "3.4 GB", in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def readable_flops(flops: float) -> str:
    """Such as "1,450 TFLOP" or "0.0123 TFLOP"."""
    tera = flops / 1e12
    return f"{tera:,.0f} TFLOP" if tera >= 100 else f"{tera:.3g} TFLOP"


def readable_seconds(seconds: float) -> str:
    """Such as "2.1 ms", "38 s", "5 min 30 s", "3 h 12 min" or "4 days 6 h"."""
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    for size, unit, part, smaller in (
        (86_400, "days", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if seconds >= size:
            whole = int(seconds // size)
            rest = int(seconds % size // part)
            unit = "day" if unit == "days" and whole == 1 else unit
            return f"{whole:,} {unit} {rest} {smaller}" if rest else f"{whole:,} {unit}"
    raise AssertionError


def until_clock(seconds: float, *, now: datetime.datetime | None = None) -> str:
    """When that is over, such as "until 14:05" or "until Tue 1 Dec 02:13"; local time."""
    start = now or datetime.datetime.now()
    try:
        end = start + datetime.timedelta(seconds=seconds)
    except OverflowError:
        return "for ever"
    if end.date() == start.date():
        return f"until {end:%H:%M}"
    if (end - start).days < 300:
        return f"until {end:%a} {end.day} {end:%b %H:%M}"
    return f"until {end:%B %Y}"

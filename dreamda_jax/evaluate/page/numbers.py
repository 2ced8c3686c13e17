"""Numbers as the report page prints them; "–" stands for what was not measured."""

import datetime
import json
import math
from collections.abc import Sequence
from typing import Any, TypeGuard

NOTHING = "–"
_MINUS = "\N{MINUS SIGN}"
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_SMALLEST_PLAIN = 1e-4


def is_number(value: float | None) -> TypeGuard[float]:
    """Whether it was measured: neither None nor NaN nor infinite."""
    return value is not None and math.isfinite(value)


def significant(value: float | None, digits: int = 3) -> str:
    """Rounds to significant digits: 41.2, 0.00123, 1,235, 1.20×10⁻⁵."""
    if not is_number(value):
        return NOTHING
    if value == 0:
        return "0"
    mantissa, exponent = f"{abs(value):.{digits - 1}e}".split("e")
    power = int(exponent)
    if abs(value) < _SMALLEST_PLAIN:
        words = f"{mantissa}×10{str(power).translate(_SUPERSCRIPTS)}"
    else:
        words = f"{abs(value):,.{max(digits - 1 - power, 0)}f}"
    return _MINUS + words if value < 0 else words


def aligned(values: Sequence[float | None], digits: int = 3) -> list[str]:
    """Several numbers of one quantity with the decimals that suit the largest of them.

    An interval then reads 0.00123 (0.00031 to 0.00215). A number that would lose its last digit
    keeps its own decimals.
    """
    sizes = [abs(value) for value in values if is_number(value)]
    largest = max(sizes, default=0.0)
    if largest < _SMALLEST_PLAIN:
        return [significant(value, digits) for value in values]
    decimals = max(digits - 1 - int(f"{largest:.{digits - 1}e}".split("e")[1]), 0)
    words = []
    for value in values:
        if not is_number(value):
            words.append(NOTHING)
        elif value and abs(value) < 0.5 * 10**-decimals:
            words.append(significant(value, 1))
        else:
            words.append(_with_minus(f"{value:,.{decimals}f}"))
    return words


def percent(share: float | None, decimals: int = 1) -> str:
    """A share of 1 as 75.9%."""
    if share is None or not math.isfinite(share):
        return NOTHING
    return _with_minus(f"{share:.{decimals}%}")


def points(difference: float | None) -> str:
    """A difference of two shares in percentage points, with its sign: +2.7."""
    if not is_number(difference):
        return NOTHING
    return _with_minus(f"{100 * difference:+.1f}")


def count(number: int | None) -> str:
    """A whole number with its thousands apart."""
    return NOTHING if number is None else _with_minus(f"{number:,}")


def duration(seconds: float | None) -> str:
    """Time in the two largest units: 3 h 25 min."""
    if not is_number(seconds):
        return NOTHING
    if seconds < 60:
        return f"{significant(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours:,} h {minutes} min"


def moment(iso: str) -> str:
    """An ISO time as a person writes it; as it came if it is not one."""
    try:
        time = datetime.datetime.fromisoformat(iso)
    except ValueError:
        return iso
    return f"{time.day} {time:%B %Y, %H:%M} {time.tzname() or ''}".rstrip()


def setting(value: Any) -> str:
    """A configuration's value: text as it is, all else as JSON."""
    if value is None:
        return NOTHING
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _with_minus(words: str) -> str:
    return words.replace("-", _MINUS)

"""Where the report page's charts put things: positions in percent of a chart's width."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dreamda_jax.evaluate.page.numbers import is_number

_MARGIN = 3.0  # percent on either side, so that a dot at the end is whole
_CLOSE = 0.6  # of the largest: the smallest above it, and the axis leaves out 0
_HEADROOM = 0.08


class Axis(NamedTuple):
    """A stretch of numbers drawn from the chart's left to its right."""

    start: float
    end: float

    def at(self, value: float | None) -> str | None:
        """Position in percent of the width, as CSS and SVG take it; None for what is missing."""
        if not is_number(value):
            return None
        inner = (value - self.start) / (self.end - self.start)
        return f"{_MARGIN + (100 - 2 * _MARGIN) * min(max(inner, 0.0), 1.0):.2f}%"

    def length(self, low: float, high: float) -> str:
        """Width of a stretch in percent."""
        return f"{(100 - 2 * _MARGIN) * (high - low) / (self.end - self.start):.2f}%"


class Range(NamedTuple):
    """A metric's interval on an axis of its own."""

    axis: Axis
    value: str | None
    low: str | None
    width: str | None
    baseline: str | None


def fitting_axis(values: Sequence[float | None], *, from_zero: bool = False) -> Axis:
    """An axis for some numbers: from 0, unless all lie close together far from it.

    From 0 lengths can be compared; but an interval of 0.262 to 0.268 would be a dot on it.

    Args:
      values: None and NaN do not count.
      from_zero: in any case, as 0 means something: distances, the best of which is 0.
    """
    known = [value for value in values if is_number(value)]
    low, high = min(known, default=0.0), max(known, default=0.0)
    if high > low > _CLOSE * high and not from_zero:
        spare = 0.2 * (high - low)
        return Axis(max(low - spare, 0.0), high + spare)
    start, end = min(low, 0.0), max(high, 0.0)
    return Axis(start, end + _HEADROOM * (end - start or 1.0))


def metric_range(metric: Mapping[str, Any]) -> Range | None:
    """The drawing of a metric; None if it has no value.

    Args:
      metric: "value", "low", "high" and "baseline", all of them numbers or None, and "better".
    """
    value, low, high = metric["value"], metric["low"], metric["high"]
    if not is_number(value):
        return None
    axis = fitting_axis(
        [value, low, high, metric["baseline"]], from_zero=metric["better"] == "lower"
    )
    known = is_number(low) and is_number(high)
    return Range(
        axis=axis,
        value=axis.at(value),
        low=axis.at(low) if known else None,
        width=axis.length(low, high) if known else None,
        baseline=axis.at(metric["baseline"]),
    )


def shares_of_largest(values: Sequence[float | None], *, least: float = 0.0) -> list[str | None]:
    """Lengths of bars in percent, the largest value's being 100; None for what is missing.

    Args:
      values: not negative.
      least: of the value that has 100 %: the end of a scale that has one.
    """
    largest = max(filter(is_number, [least, *values]))
    return [
        f"{100 * max(value, 0.0) / largest:.1f}%" if is_number(value) and largest > 0 else None
        for value in values
    ]

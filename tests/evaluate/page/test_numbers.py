"""Numbers as the page prints them, and where its charts put them."""

import math

import pytest

from dreamda_jax.evaluate.page import numbers
from dreamda_jax.evaluate.page.charts import Axis, fitting_axis, metric_range, shares_of_largest


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (41.234, "41.2"),
        (9.999, "10.0"),
        (0.0012345, "0.00123"),
        (1234.56, "1,235"),
        (0.0, "0"),
        (-0.5, "−0.500"),
        (1.2e-5, "1.20×10⁻⁵"),
        (-9.999e-6, "−1.00×10⁻⁵"),
        (None, "–"),
        (math.nan, "–"),
        (math.inf, "–"),
    ],
)
def test_significant(value, words):
    assert numbers.significant(value) == words


def test_aligned():
    assert numbers.aligned([41.23, 39.61, 43.07, None]) == ["41.2", "39.6", "43.1", "–"]
    assert numbers.aligned([0.00123, 0.00031, -0.002]) == ["0.00123", "0.00031", "−0.00200"]
    # What would become 0.00 keeps a digit of its own.
    assert numbers.aligned([1.2, 0.0004, 0.0]) == ["1.20", "0.0004", "0.00"]
    assert numbers.aligned([1e-6, None]) == ["1.00×10⁻⁶", "–"]
    assert numbers.aligned([None, math.nan]) == ["–", "–"]


def test_shares_and_counts():
    assert numbers.percent(0.7594) == "75.9%"
    assert numbers.percent(0.5, 0) == "50%"
    assert numbers.percent(None) == "–"
    assert [numbers.points(d) for d in (0.027, -0.011, None)] == ["+2.7", "−1.1", "–"]
    assert [numbers.count(n) for n in (1234567, -1200, None)] == ["1,234,567", "−1,200", "–"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(3.14159, "3.14 s"), (59.9, "59.9 s"), (214.3, "3 min 34 s"), (3599.6, "1 h 0 min"),
     (12_345, "3 h 26 min"), (None, "–")],
)  # fmt: skip
def test_duration(seconds, words):
    assert numbers.duration(seconds) == words


def test_moments_and_settings():
    assert numbers.moment("2026-03-02T14:05:11+00:00") == "2 March 2026, 14:05 UTC"
    assert numbers.moment("2026-03-02T14:05:11") == "2 March 2026, 14:05"
    assert numbers.moment("yesterday") == "yesterday"
    values = [None, "a b", 3.0, True, {"a": [1]}, "été"]
    assert [numbers.setting(value) for value in values] == [
        "–", "a b", "3.0", "true", '{"a": [1]}', "été"
    ]  # fmt: skip


def test_axis():
    axis = Axis(0.0, 2.0)
    assert [axis.at(value) for value in (0, 1, 2, 5, None)] == [
        "3.00%", "50.00%", "97.00%", "97.00%", None
    ]  # fmt: skip
    assert axis.length(0.5, 1.5) == "47.00%"


def test_axis_fits():
    assert fitting_axis([1.0, 10.0, None]) == Axis(0.0, pytest.approx(10.8))
    near = fitting_axis([0.26, 0.27])
    assert 0.25 < near.start < 0.26 < 0.27 < near.end < 0.28
    assert fitting_axis([0.26, 0.27], from_zero=True).start == 0
    assert fitting_axis([-1.0, 10.0]).start == -1
    assert fitting_axis([5.0]) == Axis(0.0, pytest.approx(5.4))
    # Nothing known, or zero alone: an axis that divides by no zero.
    for values in ([], [None, math.nan], [0.0, 0.0]):
        assert fitting_axis(values).end > fitting_axis(values).start == 0


def test_metric_range():
    metric = {"value": 4.0, "low": 3.0, "high": 6.0, "baseline": 1.0, "better": "lower"}
    drawn = metric_range(metric)
    places = [float(at.rstrip("%")) for at in (drawn.baseline, drawn.low, drawn.value)]
    assert places == sorted(places)
    # The bar ends where `high` is.
    end = float(drawn.low.rstrip("%")) + float(drawn.width.rstrip("%"))
    assert end == pytest.approx(float(drawn.axis.at(6.0).rstrip("%")), abs=0.02)
    alone = metric_range(metric | {"low": None, "baseline": None})
    assert (alone.low, alone.width, alone.baseline) == (None, None, None)
    assert metric_range(metric | {"value": None}) is None


def test_bars():
    assert shares_of_largest([2.0, None, 1.0, math.nan, -1.0]) == [
        "100.0%", None, "50.0%", None, "0.0%"
    ]  # fmt: skip
    assert shares_of_largest([0.0, None]) == [None, None]

"""What is said of a job's time: from an earlier run, else a bound, else that it is not known."""

import datetime

import pytest

from dreamda_jax.runtime import compilation_cache, devices, forecast, measured_rate
from dreamda_jax.runtime.chips import CHIPS
from dreamda_jax.runtime.readable import readable_seconds, until_clock


def test_of_an_earlier_run():
    (line,) = forecast.lines(forecast.from_last_run(0.25, unit="image", count=600), label_width=10)
    assert line.startswith("time      250 ms per image, 2 min 30 s in all, until ")
    assert line.endswith("(as in the last run of this program here)")


def test_a_bound_says_that_it_is_one(monkeypatch):
    monkeypatch.setattr(devices, "chip", lambda: CHIPS["h100"])
    found = forecast.from_operations(
        989e12, unit="step", count=120, dtype="bfloat16", num_devices=8
    )
    assert found.each == 1 / 8
    (line,) = forecast.lines(found, label_width=12)
    assert line == (
        "time        at least 125 ms per step, 15 s in all "
        "(a bound: operations alone, at 989 TFLOP/s of NVIDIA H100 SXM 80 GB)"
    )


def test_the_rate_of_a_cpu_is_measured_once(monkeypatch, tmp_path):
    measured = []
    monkeypatch.setattr(devices, "chip", lambda: None)
    monkeypatch.setattr(compilation_cache, "kept_in", lambda: tmp_path)
    monkeypatch.setattr(measured_rate, "product_rate", lambda dtype: measured.append(dtype) or 1e11)
    for _ in range(2):
        found = forecast.from_operations(
            1e11, unit="image", count=10, dtype="float32", num_devices=2
        )
        assert found.seconds == 5.0
    assert measured == ["float32"]


def test_a_device_that_nobody_knows(monkeypatch):
    monkeypatch.setattr(devices, "chip", lambda: None)
    monkeypatch.setattr(devices, "platform", lambda: "gpu")
    found = forecast.from_operations(1.0, unit="image", count=1, dtype="float32", num_devices=1)
    assert found is None
    (line,) = forecast.lines(found, label_width=10)
    assert line.startswith("time      not known before the first batches")


@pytest.mark.parametrize(
    ("platform", "seconds", "warns"),
    [("cpu", 3601, True), ("cpu", 3599, False), ("gpu", 10**6, False)],
)
def test_a_warning_over_an_hour_on_a_cpu(monkeypatch, platform, seconds, warns):
    monkeypatch.setattr(devices, "platform", lambda: platform)
    found = forecast.from_last_run(1.0, unit="step", count=seconds)
    said = forecast.lines(found, label_width=10)
    assert [line.split()[0] for line in said] == ["time", "warning"][: 1 + warns]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0021, "2.1 ms"),
        (38.04, "38 s"),
        (60, "1 min"),
        (330, "5 min 30 s"),
        (11_520, "3 h 12 min"),
        (86_400, "1 day"),
        (4 * 86_400 + 6 * 3600, "4 days 6 h"),
    ],
)
def test_seconds_in_words(seconds, words):
    assert readable_seconds(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (60, "until 14:06"),
        (12 * 3600, "until Tue 1 Dec 02:05"),
        (400 * 86_400, "until January 2028"),
        (1e300, "for ever"),
    ],
)
def test_when_it_ends(seconds, words):
    now = datetime.datetime(2026, 11, 30, 14, 5)
    assert until_clock(seconds, now=now) == words

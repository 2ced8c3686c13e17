"""Progress, on a terminal and in plain lines."""

import io
import types

import pytest
import tqdm

from dreamda_jax.runtime import progress as progress_file
from dreamda_jax.runtime.progress import Progress


def test_progress_in_plain_lines():
    stream = io.StringIO()
    progress = Progress(total=10, done=4, stream=stream)
    progress.add(2)  # too soon for another line
    progress.add(4)
    progress.close()
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("10/10 images, ")
    assert "images/s, 00:00 left" in line


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    """A time that passes only when told to."""

    def __init__(self):
        self.now = 1_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress_file, "time", types.SimpleNamespace(monotonic=clock))
    monkeypatch.setattr(tqdm.std, "time", clock)
    monkeypatch.setattr(progress_file, "until_clock", lambda seconds: f"until +{seconds:.0f}")
    return clock


def test_progress_bar_on_a_terminal():
    stream = Terminal()
    progress = Progress(total=4, stream=stream)
    progress.add(4)
    progress.close()
    assert "4/4" in stream.getvalue()
    assert "image/s" in stream.getvalue()


def test_rate_leaves_out_compilation_and_an_earlier_run(clock):
    stream = io.StringIO()
    progress = Progress(total=1_000, done=500, stream=stream)
    for seconds in (100, 10, 20):  # the first batch waits for the compiler
        clock.now += seconds
        progress.add(20)
    assert stream.getvalue().splitlines() == [
        "520/1000 images",  # no rate can be told yet
        "540/1000 images, 2.00 images/s, 03:50 left, until +230",
        "560/1000 images, 1.33 images/s, 05:30 left, until +330",
    ]


def test_rate_in_the_bar_leaves_out_compilation_and_an_earlier_run(clock):
    stream = Terminal()
    progress = Progress(total=1_000, done=500, stream=stream)
    clock.now += 100
    progress.add(20)
    first = stream.getvalue()
    clock.now += 10
    progress.add(20)
    progress.close()
    assert "520/1000" in first
    assert "?image/s" in first.split("520/1000")[1]
    last = stream.getvalue().split("540/1000")[-1]
    assert "[00:10<03:50,  2.00image/s, until +230]" in last


def test_note_and_unit_in_plain_lines(clock):
    stream = io.StringIO()
    progress = Progress(total=30, stream=stream, unit="step")
    for note in ("loss 0.412, accuracy 91.2%", "", "loss 0.3"):
        clock.now += 10
        progress.add(10, note)
    assert stream.getvalue().splitlines() == [
        "10/30 steps, loss 0.412, accuracy 91.2%",
        "20/30 steps, 1.00 steps/s, 00:10 left, until +10, loss 0.412, accuracy 91.2%",
        "30/30 steps, 1.00 steps/s, 00:00 left, loss 0.3",
    ]


def test_note_in_the_bar(clock):
    stream = Terminal()
    progress = Progress(total=30, stream=stream, unit="step")
    for note in ("loss 0.412", "", "loss 0.3"):
        clock.now += 10
        progress.add(10, note)
    progress.close()
    frames = stream.getvalue().split("\r")
    assert any(
        "20/30" in frame and "1.00step/s, until +10, loss 0.412" in frame for frame in frames
    )
    assert "30/30" in frames[-1]
    assert "loss 0.3]" in frames[-1]


def test_a_hint_where_more_than_an_hour_is_left(clock):
    stream = io.StringIO()
    progress = Progress(total=1_000, stream=stream, hint_for_long="take fewer")
    for seconds in (100, 10, 10, 10, 10):
        clock.now += seconds
        progress.add(2)
    # 990 images at 5 s; said once, when half a minute has been measured
    warned = [line for line in stream.getvalue().splitlines() if line == "warning: take fewer"]
    assert len(warned) == 1
    before = stream.getvalue().split("warning")[0].splitlines()[-1]
    assert before.startswith("8/1000 images")


def test_no_hint_where_less_is_left(clock):
    stream = io.StringIO()
    progress = Progress(total=100, stream=stream, hint_for_long="take fewer")
    for _ in range(8):
        clock.now += 10
        progress.add(2)
    assert "warning" not in stream.getvalue()


def test_what_was_skipped_is_counted_apart(clock):
    stream = io.StringIO()
    progress = Progress(total=16, done=4, skipped=2, stream=stream)
    for skipped in (2, 0, 0):
        clock.now += 10
        progress.skip(skipped)
        progress.add(4)
    assert stream.getvalue().splitlines() == [
        "4/16 images, 4 skipped",
        "8/16 images, 4 skipped, 0.40 images/s, 00:10 left, until +10",
        "12/16 images, 4 skipped, 0.40 images/s, 00:00 left",
    ]


def test_what_was_skipped_in_the_bar(clock):
    stream = Terminal()
    progress = Progress(total=8, stream=stream)
    for skipped in (0, 2):
        clock.now += 10
        progress.skip(skipped)
        progress.add(4)
    progress.close()
    last = stream.getvalue().split("\r")[-1]
    assert "6/8" in last
    assert "2 skipped" in last
    assert "8/8" not in stream.getvalue()

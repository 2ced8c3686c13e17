"""Contact sheet, progress and summary: what a person sees."""

import io
import types
from pathlib import Path

import numpy as np
import pytest
import tqdm
from PIL import Image

from dreamda_jax.data.drawing import drawable
from dreamda_jax.data.sets.dataset import Summary
from dreamda_jax.data.sets.records import encode_image
from dreamda_jax.generate import summary
from dreamda_jax.generate.cost import Cost, estimated_bytes
from dreamda_jax.generate.production import ContactSheet
from dreamda_jax.generate.statistics import Statistics
from dreamda_jax.runtime import progress as progress_file
from dreamda_jax.runtime.progress import Progress


def flat(value):
    return np.tile(np.array([value, 0, 255], np.uint8), (32, 32, 1))


def png(value):
    return encode_image(flat(value), image_format="png", quality=95)


def test_contact_sheet_shows_the_lowest_seed_of_each_class(tmp_path):
    sheet = ContactSheet(("a very long class name that does not fit", "b"))
    sheet.save(tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
    sheet.add(1, 9, flat(10), [png(100)])
    assert sheet.wants(1, 3)
    assert not sheet.wants(1, 12)
    sheet.add(1, 3, flat(20), [png(200), png(210)])
    sheet.add(0, 5, flat(30), [png(50)])
    sheet.save(tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as image:
        colours = {colour for _, colour in image.getcolors(1 << 20)}
    assert {(v, 0, 255) for v in (20, 200, 210, 30, 50)} <= colours
    assert not {(10, 0, 255), (100, 0, 255)} & colours
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


def test_class_names_are_drawn_without_what_the_font_lacks():
    assert drawable("chat tigré & fusée") == "chat tigre & fusee"
    assert drawable("日本 t-shirt") == "?? t-shirt"


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
    return clock


def test_rate_leaves_out_compilation_and_an_earlier_run(clock):
    stream = io.StringIO()
    progress = Progress(total=1_000, done=500, stream=stream)
    for seconds in (100, 10, 20):  # the first batch waits for the compiler
        clock.now += seconds
        progress.add(20)
    assert stream.getvalue().splitlines() == [
        "520/1000 images",  # no rate can be told yet
        "540/1000 images, 2.00 images/s, 03:50 left",
        "560/1000 images, 1.33 images/s, 05:30 left",
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
    assert "[00:10<03:50,  2.00image/s]" in last


def test_note_and_unit_in_plain_lines(clock):
    stream = io.StringIO()
    progress = Progress(total=30, stream=stream, unit="step")
    for note in ("loss 0.412, accuracy 91.2%", "", "loss 0.3"):
        clock.now += 10
        progress.add(10, note)
    assert stream.getvalue().splitlines() == [
        "10/30 steps, loss 0.412, accuracy 91.2%",
        "20/30 steps, 1.00 steps/s, 00:10 left, loss 0.412, accuracy 91.2%",
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
    assert any("20/30" in frame and "1.00step/s, loss 0.412" in frame for frame in frames)
    assert "30/30" in frames[-1]
    assert "loss 0.3]" in frames[-1]


def test_progress_bar_on_a_terminal():
    stream = Terminal()
    progress = Progress(total=4, stream=stream)
    progress.add(4)
    progress.close()
    assert "4/4" in stream.getvalue()
    assert "image/s" in stream.getvalue()


def test_summaries():
    price = Cost(flops=2e12, unet_flops=1.5e12, row_flops=0.1e12)
    assert price.unet_rows == 15
    text = summary.start(
        devices="8 x TPU v5 lite",
        model="sd, bfloat16",
        method="dreamda",
        num_seeds=100,
        seeds_left=60,
        num_classes=3,
        num_variants=10,
        resolution=512,
        price=price,
        num_bytes=3_400_000_000,
        output="out",
    )
    assert "600 to make with dreamda, 10 per seed (400 are there already)" in text
    assert "15.0 U-Net rows, 2 TFLOP per image; 1,200 TFLOP in all" in text
    assert "3.4 GB" in text
    done = Statistics(images=20, batches=2, seconds=10, device_wait_seconds=0.1)
    done.images_in_seconds, done.mean_square = 10, 2 * 4.0
    text = summary.made(done, noise_scale=3.0)
    assert "1.00 images/s after compilation" in text
    assert "1.0% of the time" in text
    assert "RMS of the perturbed features 2.00, noise_scale 3" in text
    end = summary.end(Path("out"), Summary(num_records=1200, num_skipped=2, num_bytes=5_000))
    assert "1,200 images, 5.0 kB, in out" in end
    assert "2 seed images" in end
    assert "python -m dreamda_jax.export --input out" in end


def test_estimated_bytes_is_an_upper_estimate():
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(noise).resize((8, 8)).resize((64, 64), Image.BICUBIC))
    for image_format in ("png", "jpeg"):
        one = len(encode_image(smooth, image_format=image_format, quality=95))
        estimate = estimated_bytes(10, num_shards=1, resolution=64, image_format=image_format)
        assert 10 * one < estimate

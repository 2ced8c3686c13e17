import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import skimage.data
from PIL import Image

from dreamda_jax.data.loader import load_seeds
from dreamda_jax.data.sources import Example, open_source
from dreamda_jax.errors import UserError
from tests.support.waiting import wait_until


@pytest.fixture
def folder(tmp_path):
    """Four good photos between bad ones."""
    for kind in ("animal", "thing"):
        (tmp_path / kind).mkdir()
    Image.fromarray(skimage.data.chelsea()).save(tmp_path / "animal" / "cat.jpg")
    Image.fromarray(skimage.data.astronaut()).save(tmp_path / "animal" / "human.png")
    (tmp_path / "animal" / "empty.png").touch()
    good = (tmp_path / "animal" / "cat.jpg").read_bytes()
    (tmp_path / "animal" / "cut.jpg").write_bytes(good[: len(good) // 2])
    Image.fromarray(skimage.data.coffee()).save(tmp_path / "thing" / "coffee.webp")
    Image.fromarray(skimage.data.coffee()[:100]).save(tmp_path / "thing" / "low.png")
    (tmp_path / "thing" / "text.png").write_text("hello")
    (tmp_path / "thing" / "gone.png").symlink_to(tmp_path / "nowhere")
    return tmp_path


EXPECTED = {
    "animal/cat.jpg": None,
    "animal/cut.jpg": "truncated",
    "animal/empty.png": "empty file",
    "animal/human.png": None,
    "thing/coffee.webp": None,
    "thing/gone.png": "missing",
    "thing/low.png": None,
    "thing/text.png": "not an image",
}


def load(source, indices, **options):
    return list(load_seeds(source, indices, resolution=128, crop="center", **options))


@pytest.mark.parametrize("num_threads", [0, 1, 8])
def test_one_seed_for_each_index(folder, num_threads):
    source = open_source("folder", path=folder)
    seeds = load(source, range(8), num_threads=num_threads, prefetch=3)
    assert {seed.name: seed.error for seed in seeds} == EXPECTED
    assert [seed.index for seed in seeds] == list(range(8))
    assert [seed.label for seed in seeds] == [0, 0, 0, 0, 1, 1, 1, 1]
    for seed in seeds:
        assert (seed.pixels is None) == (seed.error is not None)
        if seed.pixels is not None:
            assert seed.pixels.shape == (128, 128, 3)
            assert seed.pixels.dtype == np.uint8
        assert seed.enlarged == (seed.name == "thing/low.png")


def test_order_is_the_callers():
    source = open_source("sample")
    order = [5, 3, 3, 199, 0, 7, *range(150, 100, -1)]
    seeds = list(load_seeds(source, np.array(order), resolution=32, crop="squash"))
    assert [seed.index for seed in seeds] == order
    np.testing.assert_array_equal(seeds[3].pixels, source[199].content)
    assert not seeds[0].enlarged
    assert list(load_seeds(source, [], resolution=32, crop="squash", num_workers=3)) == []


def test_worker_processes_give_the_same(folder):
    source = open_source("folder", path=folder)
    order = [7, 0, 1, 2, 6, 3, 4, 5, 0]
    here = load(source, order)
    there = load(source, order, num_workers=2)
    assert len(here) == len(there)
    for one, other in zip(here, there, strict=True):
        assert one._replace(pixels=None) == other._replace(pixels=None)
        if one.pixels is not None:
            np.testing.assert_array_equal(one.pixels, other.pixels)
    assert not multiprocessing.active_children()


class Broken:
    """A source that fails at example 2."""

    name = "broken"
    label_names = ("x",)

    def __init__(self, error):
        self.error = error

    def __len__(self):
        return 5

    def __getitem__(self, index):
        if index == 2:
            raise self.error
        return Example(index, str(index), 0, np.zeros((4, 4, 3), np.uint8))

    def fingerprint(self):
        return ""


@pytest.mark.parametrize("error", [UserError("mend me"), OSError(5, "I/O error"), KeyError("x")])
def test_other_errors_surface(error):
    seeds = load_seeds(Broken(error), range(5), resolution=4, crop="center")
    assert [next(seeds).index, next(seeds).index] == [0, 1]
    with pytest.raises(type(error)):
        next(seeds)


def test_other_errors_surface_from_a_worker_and_closing_early_stops_it():
    with pytest.raises(UserError, match="mend me"):
        load(Broken(UserError("mend me")), range(5), num_workers=1)
    assert not multiprocessing.active_children()
    seeds = load_seeds(
        open_source("sample"), range(200), resolution=64, crop="center", num_workers=1
    )
    with contextlib.closing(seeds):
        assert next(seeds).index == 0
        assert multiprocessing.active_children()
    assert not multiprocessing.active_children()
    assert next(seeds, None) is None


class Counted:
    """A source that knows which of its images were read."""

    def __init__(self, source):
        self.source, self.read = source, set()
        self.name, self.label_names = source.name, source.label_names

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        self.read.add(index)
        return self.source[index]


def test_closing_early_in_threads():
    threads, source = set(threading.enumerate()), Counted(open_source("sample"))
    seeds = load_seeds(source, range(200), resolution=64, crop="center", prefetch=16)
    next(seeds)
    seeds.close()
    wait_until(lambda: set(threading.enumerate()) <= threads)
    assert source.read <= set(range(1 + 16))  # and not all of them


PARENT = """
import multiprocessing, signal
from dreamda_jax.data.loader import load_seeds
from dreamda_jax.data.sources import open_source
if __name__ == "__main__":
    seeds = load_seeds(
        open_source("sample"), range(200), resolution=64, crop="center", num_workers=1)
    next(seeds)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    signal.pause()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_workers_do_not_outlive_a_killed_parent(tmp_path):
    (tmp_path / "parent.py").write_text(PARENT)
    process = subprocess.Popen(
        [sys.executable, tmp_path / "parent.py"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    workers = [int(pid) for pid in process.stdout.readline().split()]
    assert workers
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in workers))


@pytest.mark.parametrize(
    "options",
    [
        {"num_workers": -1},
        {"num_threads": -1},
        {"prefetch": 0},
        {"crop": "stretch"},
        {"resolution": 0},
    ],
)
def test_bad_arguments_are_refused_at_once(options):
    with pytest.raises(ValueError, match=r"at least|bad"):
        load_seeds(open_source("sample"), [0], **{"resolution": 8, "crop": "center", **options})

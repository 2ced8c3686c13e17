"""A set's digest follows the bytes of its images and nothing else."""

import os
import shutil

import numpy as np
import pytest

from dreamda_jax.data.content import read_content
from dreamda_jax.data.sources import Example, Spread
from dreamda_jax.data.sources.folder import open_folder
from dreamda_jax.data.sources.sample_source import SampleSource
from dreamda_jax.data.sources.subset import Subset
from dreamda_jax.errors import UserError
from tests.support.small_training import make_folder


def test_of_files(tmp_path):
    first = make_folder(tmp_path / "first", split="train", per_class=3)
    before = read_content(open_folder(first))
    np.testing.assert_array_equal(before.labels, [0, 0, 0, 1, 1, 1, 2, 2, 2])
    second = tmp_path / "second"
    shutil.copytree(first, second)
    (second / "bag").rename(second / "a bag")  # another name, in the same place
    assert read_content(open_folder(second)).digest == before.digest
    changed = sorted(second.glob("*/*.png"))[4]
    data = bytearray(changed.read_bytes())
    data[-1] ^= 1
    changed.write_bytes(data)
    assert read_content(open_folder(second)).digest != before.digest


def test_a_pipe_among_the_images_is_not_waited_for(tmp_path):
    images = make_folder(tmp_path / "images", split="train", per_class=3)
    first = sorted(images.glob("*/*.png"))[0]
    before = read_content(open_folder(images)).digest
    first.unlink()
    os.mkfifo(first)
    assert read_content(open_folder(images)).digest != before


def test_of_pixels_and_their_order():
    source = Spread(SampleSource(split="train"), 6)
    digest = read_content(source).digest
    assert digest == read_content(source).digest
    assert digest != read_content(Subset(source, [1, 0, 2, 3, 4, 5])).digest


def test_shape_tells_equal_bytes_apart():
    class One:
        name, label_names = "one", ("a",)

        def __init__(self, shape):
            self.shape = shape

        def __len__(self):
            return 1

        def __getitem__(self, index):
            return Example(0, "x", 0, np.zeros(self.shape, np.uint8))

    assert read_content(One((2, 4, 3))).digest != read_content(One((4, 2, 3))).digest


def test_reports_and_a_file_that_has_gone(tmp_path):
    told = []
    source = open_folder(make_folder(tmp_path, split="train", per_class=2))
    before = read_content(source, report=told.append)
    assert sum(told) == 6
    next(tmp_path.glob("*/*.png")).unlink()
    assert read_content(source).digest != before.digest  # decoding says which one is missing


def test_a_label_that_names_no_class():
    class Wrong(SampleSource):
        def __getitem__(self, index):
            return super().__getitem__(index)._replace(label=99)

    with pytest.raises(UserError, match="label 99"):
        read_content(Wrong(split="validation"))

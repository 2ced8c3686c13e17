import os
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from dreamda_jax.data.sets import dataset, shards
from dreamda_jax.data.sources import synthetic_source
from dreamda_jax.data.sources.synthetic_source import SyntheticSource
from dreamda_jax.data.transforms import decode_image
from dreamda_jax.errors import UserError
from tests.support.make_synthetic import make_pixels, make_record, make_synthetic
from tests.support.waiting import HANG_GUARD_SECONDS

SKIPPED = (1, 3, 4, 5)  # one of the first shard, all of the second, none of the third


@pytest.fixture
def layout(tmp_path):
    return make_synthetic(tmp_path / "set", skipped=SKIPPED)


def seeds_and_variants(source):
    return [source.seed_of(index) for index in range(len(source))]


@pytest.mark.parametrize("image_format", ["png", "jpeg"])
def test_all_records_in_their_order(tmp_path, image_format):
    layout = make_synthetic(tmp_path, skipped=SKIPPED, image_format=image_format)
    source = SyntheticSource(tmp_path)
    assert (source.name, source.label_names) == ("toys", ("cat", "dog", "spaced out"))
    expected = list(dataset.read_records(layout))
    assert len(source) == len(expected) == 9
    for index, record in enumerate(expected):
        example = source[index]
        assert (example.index, example.label) == (index, record.label)
        assert example.content == record.image
        assert example.name == f"{record.seed_name}/{record.variant}"
        assert source.seed_of(index) == (record.seed_id, record.variant)
    if image_format == "png":
        pixels = decode_image(source[8].content, resolution=8, crop="center").pixels
        np.testing.assert_array_equal(pixels, make_pixels(6, 2, 8))
    for index in (-1, 9):
        with pytest.raises(IndexError):
            source[index]
        with pytest.raises(IndexError):
            source.seed_of(index)


def test_expansion_takes_the_first_variants_of_every_seed(layout):
    source = SyntheticSource(layout.directory, expansion=2)
    pairs = [(seed, variant) for seed in (0, 2, 6) for variant in (0, 1)]
    assert seeds_and_variants(source) == pairs
    for index, (seed, variant) in enumerate(pairs):
        assert source[index].content == make_record(seed, variant).image
    whole = SyntheticSource(layout.directory)
    assert len(SyntheticSource(layout.directory, expansion=3)) == len(whole) == 9
    assert whole.fingerprint() == SyntheticSource(layout.directory, expansion=3).fingerprint()
    assert whole.fingerprint() != source.fingerprint()
    for expansion in (4, -1):
        with pytest.raises(UserError, match=rf"has 3 variants .* expansion of {expansion} "):
            SyntheticSource(layout.directory, expansion=expansion)


def test_fingerprint_tells_the_content_not_the_place(tmp_path, layout):
    source = SyntheticSource(layout.directory)
    moved = tmp_path / "moved"
    shutil.copytree(layout.directory, moved)
    assert SyntheticSource(moved).fingerprint() == source.fingerprint()
    make_synthetic(tmp_path / "jpeg", skipped=SKIPPED, image_format="jpeg")
    assert SyntheticSource(tmp_path / "jpeg").fingerprint() != source.fingerprint()


def test_opening_reads_no_record_and_reading_opens_few_files(layout, monkeypatch):
    from array_record.python import array_record_module

    opened = []

    class Reader(array_record_module.ArrayRecordReader):
        def __init__(self, path, **options):
            opened.append(path)
            super().__init__(path, **options)

    monkeypatch.setattr(array_record_module, "ArrayRecordReader", Reader)
    monkeypatch.setattr(synthetic_source, "_MAX_OPEN_FILES", 1)
    source = SyntheticSource(layout.directory)
    seeds_and_variants(source)
    assert not opened
    contents = [source[index].content for index in (0, 1, 8, 8, 0)]
    assert opened == [str(layout.path(shard)) for shard in (0, 2, 0)]
    assert contents[0] == contents[4] != contents[2] == contents[3]


def test_threads_and_pickling(layout, monkeypatch):
    monkeypatch.setattr(synthetic_source, "_MAX_OPEN_FILES", 1)  # threads evict each other's file
    source = SyntheticSource(layout.directory)
    expected = [source[index] for index in range(9)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(source.__getitem__, [*range(9)] * 50)) == expected * 50
    copy = pickle.loads(pickle.dumps(source))
    assert [copy[index] for index in range(9)] == expected
    assert copy.fingerprint() == source.fingerprint()


IN_THREADS = """
import pickle, sys
assert "tensorflow_datasets" not in sys.modules
source = pickle.loads(sys.stdin.buffer.read())
assert "tensorflow_datasets" in sys.modules
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(8) as pool:
    print(sum(example.label for example in pool.map(source.__getitem__, range(9))))
"""


def test_a_new_process_imports_before_it_has_threads(layout):
    # Two threads that import tensorflow_datasets at once wait for each other for ever.
    source = SyntheticSource(layout.directory)
    done = subprocess.run(
        [sys.executable, "-c", IN_THREADS],
        input=pickle.dumps(source),
        stdout=subprocess.PIPE,
        timeout=HANG_GUARD_SECONDS,
        check=True,
    )
    assert int(done.stdout) == sum(source[index].label for index in range(9))


def test_unfinished_absent_and_damaged_sets_are_refused(tmp_path, layout):
    with pytest.raises(UserError, match="holds no synthetic data set"):
        SyntheticSource(tmp_path / "nowhere")
    (layout.directory / "dataset_info.json").unlink()
    with pytest.raises(UserError, match="not the metadata"):
        SyntheticSource(layout.directory)
    layout.marker(2).unlink()
    with pytest.raises(UserError, match="1 of 3 shards are missing or damaged"):
        SyntheticSource(layout.directory)


def test_a_set_without_images_is_refused(tmp_path):
    layout = make_synthetic(tmp_path, num_seeds=3)
    every = [shards.Skipped(seed, "x.jpg", "truncated") for seed in range(3)]
    shards.write_shard(layout, 0, [], every)
    with pytest.raises(UserError, match=r"no images in .* every seed image was skipped"):
        SyntheticSource(tmp_path)


@pytest.mark.parametrize("given", [[(0, 0), (0, 1)], [(0, 0), (1, 0), (1, 1)]])
def test_shards_that_are_not_one_runs_are_refused(tmp_path, given):
    layout = make_synthetic(tmp_path, num_seeds=4, seeds_per_shard=2)
    shards.write_shard(layout, 1, [make_record(2 + seed, v) for seed, v in given], [])
    with pytest.raises(UserError, match=r"images for each seed image.*empty directory"):
        SyntheticSource(tmp_path)


def test_records_elsewhere_than_expected_are_an_error(tmp_path):
    layout = make_synthetic(tmp_path, num_seeds=4, seeds_per_shard=2, num_variants=2)
    order = [(2, 0), (3, 0), (2, 1), (3, 1)]  # variant by variant instead of seed by seed
    shards.write_shard(layout, 1, [make_record(*pair) for pair in order], [])
    source = SyntheticSource(tmp_path)
    assert source[4].name == "dir/2.jpg/0"
    with pytest.raises(UserError, match="variant 0 of seed image 3 where variant 1 of 2"):
        source[5]


@pytest.mark.parametrize("damage", ["flipped bits", "shorter", "gone"])
def test_damage_that_sizes_do_not_show_surfaces_on_reading(layout, damage):
    source = SyntheticSource(layout.directory)
    path = layout.path(2)
    if damage == "flipped bits":
        data = bytearray(path.read_bytes())
        data[: 1 << 16] = bytes(byte ^ 1 for byte in data[: 1 << 16])
        path.write_bytes(data)
    elif damage == "shorter":
        assert source[8].label == 0  # open when it happens
        os.truncate(path, 100)
    else:
        path.unlink()
    assert source[0].label == 0  # another shard
    with pytest.raises(UserError, match=r"Record 2 of .*-00002-of-00003 cannot be read.*again"):
        source[8]


def test_classes_without_an_image_are_known(tmp_path):
    make_synthetic(tmp_path / "whole", num_seeds=3)
    assert SyntheticSource(tmp_path / "whole").empty_classes == ()
    make_synthetic(tmp_path / "some", num_seeds=5, skipped=(1, 4))  # all the dogs
    assert SyntheticSource(tmp_path / "some").empty_classes == ("dog",)

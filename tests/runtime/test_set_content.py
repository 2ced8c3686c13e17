"""Sets are the same where their bytes are, whatever they are called and wherever they lie."""

import os
import shutil

import pytest

from dreamda_jax.data.sources import open_source
from dreamda_jax.data.sources.classes import match_classes
from dreamda_jax.data.sources.folder import open_folder
from dreamda_jax.data.sources.synthetic_source import SyntheticSource
from dreamda_jax.runtime.set_content import content_of, digests_of, identity_of, leaked, same_images
from tests.support.small_training import make_folder, make_synthetic


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "set", split="train", per_class=3)


def of(path):
    return identity_of(open_folder(path), what="the set")


def test_names_and_places_do_not_count(folder, tmp_path, monkeypatch):
    before = of(folder)
    assert before.startswith("content-")
    shutil.copytree(folder, tmp_path / "elsewhere")
    assert of(tmp_path / "elsewhere") == before
    monkeypatch.chdir(tmp_path)
    assert of("set") == before
    (tmp_path / "link").symlink_to(folder)
    assert of(tmp_path / "link") == before
    first = sorted((tmp_path / "elsewhere").glob("*/*.png"))[0]
    first.rename(first.with_name("0" + first.name))
    assert of(tmp_path / "elsewhere") == before


def test_bytes_labels_and_captions_do(folder, tmp_path):
    before = of(folder)
    first, second, *_ = sorted(folder.glob("*/*.png"))
    kept = first.read_bytes()
    shutil.copy(second, first)  # under the old name
    assert of(folder) != before
    first.write_bytes(kept)
    assert of(folder) == before
    (folder / "bag").rename(folder / "another bag")  # its place stays, and its name is another
    assert of(folder) != before


def test_sets_of_records_are_their_files(tmp_path):
    directory = make_synthetic(tmp_path / "made", ("a", "b"))
    made = open_source("folder", path=make_folder(tmp_path / "f", split="test", per_class=1))
    assert content_of(made, what="x") is not None
    source = SyntheticSource(directory)
    assert content_of(source, what="x") is None
    before = identity_of(source, what="x")
    assert identity_of(SyntheticSource(directory), what="x") == before
    shard = next(directory.glob("*.array_record*"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    os.utime(shard)
    assert identity_of(SyntheticSource(directory), what="x") != before


def test_a_view_with_other_labels_is_another_set(folder):
    source = open_folder(folder)
    turned = match_classes(tuple(reversed(source.label_names)), source, what="it")
    assert identity_of(turned, what="it") != identity_of(source, what="it")


def test_leaks_are_found_by_bytes(folder, tmp_path):
    training = content_of(open_folder(folder), what="x")
    other = make_folder(tmp_path / "test", split="test", per_class=2)
    test = open_folder(other)
    assert leaked(training, content_of(test, what="x"), test).number == 0
    stolen = sorted(folder.glob("*/*.png"))[0]
    shutil.copy(stolen, other / "bag" / "under another name.png")
    test = open_folder(other)
    found = leaked(training, content_of(test, what="x"), test)
    assert (found.number, found.names) == (1, ("bag/under another name.png",))
    assert not found.all_of_second
    again = open_folder(folder)
    assert leaked(training, content_of(again, what="x"), again).all_of_second
    assert same_images(training, content_of(again, what="x"))
    assert not same_images(training, content_of(test, what="x"))
    assert not same_images(training, None)


def test_both_digests_are_settings(folder):
    found = digests_of(open_folder(folder), name="source")
    assert found.keys() == {"source", "source_content"}
    assert found["source"] == open_folder(folder).fingerprint()

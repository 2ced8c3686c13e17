"""Classes of which not one image can be read."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from dreamda_jax.data.sources import readable_classes
from dreamda_jax.data.sources.classes import match_classes
from dreamda_jax.data.sources.folder import open_folder
from dreamda_jax.data.sources.readable_classes import (
    look,
    refuse_unreadable_classes,
    unreadable_classes,
)
from dreamda_jax.data.sources.tfds_source import open_tfds
from dreamda_jax.errors import UserError
from tests.support.make_tfds import write_tfds_set

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)


@pytest.fixture
def images(tmp_path):
    for name in ("bird", "cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(3):
            pixels = np.random.default_rng(i).integers(0, 255, (20, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    return tmp_path


def cut(file):
    os.truncate(file, file.stat().st_size // 2)


DAMAGES = {
    "HEIC": (lambda file: file.write_bytes(HEIC), "HEIC"),
    "empty": (lambda file: file.write_bytes(b""), "empty file"),
    "cut": (cut, "truncated"),
    "text": (lambda file: file.write_text("hello"), "not an image"),
    "links to nothing": (lambda file: (file.unlink(), file.symlink_to("nothing")), "missing"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_class_of_broken_images_is_named_with_the_reason(images, damage):
    change, reason = DAMAGES[damage]
    for file in (images / "dog").iterdir():
        change(file)
    source = open_folder(images)
    (found,) = unreadable_classes(source)
    assert (found.name, found.num_images) == ("dog", 3)
    assert found.first.startswith("dog/0.png: ")
    assert reason in found.first
    with pytest.raises(UserError, match=r"no image of the class 'dog' in the images can be read"):
        refuse_unreadable_classes(source, what="the images", begun=False)
    (line,) = refuse_unreadable_classes(source, what="the images", begun=True)
    assert line.startswith("warning   no image of the class 'dog'")


def test_one_good_image_is_enough_and_ends_the_search(images, monkeypatch):
    for file in ("0.png", "1.png"):
        (images / "dog" / file).write_bytes(b"")
    looked = []
    decode = readable_classes.decode_image
    monkeypatch.setattr(
        readable_classes,
        "decode_image",
        lambda content, **options: looked.append(content.name) or decode(content, **options),
    )
    assert unreadable_classes(open_folder(images)) == []
    assert sorted(looked) == ["0.png", "0.png", "0.png", "1.png", "2.png"]


def test_a_set_without_any_image_that_can_be_read_is_another_error(images):
    for file in images.rglob("*.png"):
        file.write_bytes(b"")
    assert unreadable_classes(open_folder(images)) == []


def encoded(level):
    buffer = io.BytesIO()
    rng = np.random.default_rng(level)
    Image.fromarray(rng.integers(0, level, (20, 30, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def records(directory, images, labels, names=("bird", "cat", "dog")):
    write_tfds_set(directory, "pets", "train", images, labels, names)
    return open_tfds(data_dir=directory)


def test_records_are_looked_at_as_early(tmp_path):
    labels = [0, 1, 2, 0, 1, 2]
    broken = [HEIC if label == 2 else encoded(255) for label in labels]
    with pytest.raises(UserError, match=r"no image of the class 'dog' .*2 of 'dog' .*HEIC"):
        refuse_unreadable_classes(records(tmp_path / "a", broken, labels), what="x", begun=False)
    broken[5] = encoded(255)
    assert unreadable_classes(records(tmp_path / "b", broken, labels)) == []


def test_records_are_read_until_every_class_has_been_met(tmp_path, monkeypatch):
    labels = [0, 0, 1, 2, *[0] * 20]
    source = records(tmp_path / "a", [encoded(255)] * len(labels), labels)
    read = []
    get = type(source).__getitem__
    monkeypatch.setattr(
        type(source), "__getitem__", lambda self, place: read.append(place) or get(self, place)
    )
    found = look(source)
    assert (found.unreadable, found.num_seen) == ([], 3)
    assert max(read) == 3


def test_of_very_many_records_only_what_was_met_is_judged(tmp_path, monkeypatch):
    labels = [0, 1, 2, 2]
    images = [encoded(255), encoded(255), HEIC, encoded(255)]
    monkeypatch.setattr(readable_classes, "_MOST_RECORDS", 3)
    assert unreadable_classes(records(tmp_path / "a", images, labels)) == []
    monkeypatch.setattr(readable_classes, "_MOST_RECORDS", 4)
    assert unreadable_classes(records(tmp_path / "b", images, labels)) == []
    images[3] = HEIC
    (found,) = unreadable_classes(records(tmp_path / "c", images, labels))
    assert (found.name, found.num_images) == ("dog", 2)


def test_images_that_are_nearly_black_are_named_for_files_and_records(images, tmp_path):
    few = np.linspace(0, 4095, 600).reshape(20, 30).astype(np.uint16)
    for file in (images / "cat").iterdir():
        Image.fromarray(few).save(file)
    (line,) = refuse_unreadable_classes(open_folder(images), what="the images", begun=False)
    assert line.startswith("note      1 of 3 that were looked at of the images use under 1/8")
    assert "such as cat/0.png" in line
    assert "--config.source.grey_max=4095" in line
    right = open_folder(images, grey_max=4095)
    assert refuse_unreadable_classes(right, what="the images", begun=False) == []
    source = records(tmp_path / "records", [encoded(16)] + [encoded(255)] * 2, [0, 1, 2])
    (line,) = refuse_unreadable_classes(source, what="the images", begun=False)
    assert "bird_0.jpg" in line


def test_a_view_with_other_labels_has_its_labels_in_memory(images):
    whole = open_folder(images)
    view = match_classes(("dog", "cat", "bird"), whole, what="the test set")
    assert view.labels.tolist() == [view[place].label for place in range(len(view))]
    for file in (images / "cat").iterdir():
        file.write_bytes(b"")
    (found,) = unreadable_classes(view)
    assert (found.name, found.num_images) == ("cat", 3)

"""Classes of which not one image can be read."""

import os

import numpy as np
import pytest
from PIL import Image

from dreamda_jax.data.sources import readable_classes
from dreamda_jax.data.sources.folder import open_folder
from dreamda_jax.data.sources.readable_classes import refuse_unreadable_classes, unreadable_classes
from dreamda_jax.errors import UserError

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

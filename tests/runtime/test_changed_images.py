"""The image that has changed since a run was begun is named, by one function for every command."""

import shutil
import threading

import pytest

from dreamda_jax.data.content import read_content
from dreamda_jax.data.files import run_directory
from dreamda_jax.data.sources.folder import open_folder
from dreamda_jax.errors import UserError
from dreamda_jax.runtime import changed_images
from dreamda_jax.train import __main__ as train
from tests.support.small_training import StopAfter, make_config, make_folder


@pytest.fixture
def begun(tmp_path):
    """(images, directory of a run with them, its settings)."""
    images = make_folder(tmp_path / "images", split="train", per_class=3)
    settings = settings_of(images)
    with run_directory.open_run(tmp_path / "run", settings):
        changed_images.remember(tmp_path / "run", sets_of(images))
    (tmp_path / "run" / "checkpoints" / "1").mkdir(parents=True)
    return images, tmp_path / "run", settings


def sets_of(images):
    source = open_folder(images)
    return {"real": (source, read_content(source))}


def settings_of(images):
    return {"sha256": {"real_content": sets_of(images)["real"][1].identity}}


def refuse(images, directory):
    changed_images.refuse_changed(
        directory, settings_of(images), sets_of(images), option="train.output"
    )


def test_changed_images_are_named_and_others_are_not(begun):
    images, directory, _ = begun
    refuse(images, directory)
    first, second, third = sorted((images / "bag").iterdir())
    kept = second.read_bytes()
    second.write_bytes(third.read_bytes())
    with pytest.raises(UserError) as error:
        refuse(images, directory)
    said = str(error.value)
    assert f"1 of the 9 real images are not those that {directory} was begun with" in said
    assert f"'bag/{second.name}'" in said
    assert first.name not in said
    assert "--config.train.output" in said
    second.write_bytes(kept)
    refuse(images, directory)


@pytest.mark.parametrize("change", ["one more", "another label", "nothing made", "no digests"])
def test_what_cannot_be_told_is_left_to_the_settings(begun, change):
    images, directory, _ = begun
    first, second, _ = sorted((images / "bag").iterdir())
    if change == "one more":
        shutil.copy(first, images / "bag" / "zzz.png")
    elif change == "another label":
        first.write_bytes(second.read_bytes())
        (images / "bag").rename(images / "bags")
    elif change == "nothing made":
        first.write_bytes(second.read_bytes())
        shutil.rmtree(directory / "checkpoints")
    else:
        first.write_bytes(second.read_bytes())
        (directory / "image_digests.json").write_text("{")
    refuse(images, directory)


def test_train_names_the_image_of_either_set(tmp_path):
    config = make_config(tmp_path)
    assert train._train(config, False, StopAfter(2)) is None
    for section, name in (("train", "real"), ("test", "test")):
        one, two = sorted((tmp_path / section / "bag").iterdir())[:2]
        kept = one.read_bytes()
        one.write_bytes(two.read_bytes())
        with pytest.raises(UserError, match=rf"1 of the \d+ {name} images .*'bag/{one.name}'"):
            train._train(config, False, threading.Event())
        one.write_bytes(kept)
    assert train._train(config, False, threading.Event()) == 0

"""Sets are the same by their bytes, not by the names of their files."""

import shutil

import pytest

from dreamda_jax.errors import UserError
from dreamda_jax.evaluate import build as evaluate
from dreamda_jax.train import build as train
from tests.support.small_training import CLASSES, make_config


@pytest.fixture
def config(tmp_path):
    """Every set has bag/0.png …, and other pictures under these names."""
    config = make_config(tmp_path)
    for section in ("train", "validation", "test"):
        for name in CLASSES:
            folder = tmp_path / section / name
            for number, file in enumerate(sorted(folder.iterdir())):
                file.rename(folder / f"{number}.png")
            for file in list(folder.iterdir()):
                if int(file.stem) >= 4:
                    file.unlink()
    return config


def test_the_same_names_with_other_pictures_are_accepted(config, tmp_path):
    setup = train.training(config)
    assert (len(setup.real), len(setup.held_out.test)) == (12, 12)
    assert not [line for line in setup.warnings if "byte for byte" in line]
    given = {"real": str(tmp_path / "train"), "synthetic": str(tmp_path / "test")}
    judged = evaluate.evaluation(config, **given)
    assert len(judged.sets["real"]) == len(judged.sets["synthetic"]) == 12


def test_the_same_pictures_are_refused_whatever_they_are_called(config, tmp_path):
    shutil.rmtree(tmp_path / "test")
    for file in (tmp_path / "train").glob("*/*.png"):
        target = tmp_path / "test" / file.parent.name / f"another {file.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    with pytest.raises(UserError, match="all 12 images of section test are in the training set"):
        train.training(config)
    given = {"real": str(tmp_path / "train"), "synthetic": str(tmp_path / "test")}
    with pytest.raises(UserError, match="are the same set"):
        evaluate.evaluation(config, **given)


def test_one_stolen_picture_is_named(config, tmp_path):
    shutil.copy(tmp_path / "train/bag/0.png", tmp_path / "test/bag/3.png")
    (note,) = [note for note in train.training(config).warnings if "byte for byte" in note]
    assert "1 images of section test" in note
    assert "bag/3.png" in note

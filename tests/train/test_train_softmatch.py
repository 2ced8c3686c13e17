"""`--config.train.method=softmatch` from a configuration to files, and what it refuses."""

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dreamda_jax.errors import UserError
from dreamda_jax.models.classifiers import pretrained
from dreamda_jax.runtime.log import read_log
from dreamda_jax.train import __main__ as train
from dreamda_jax.train import build
from dreamda_jax.train.methods import open_method
from tests.support.small_training import CLASSES, StopAfter, garment, make_config


def make_softmatch_config(directory: Path, **train: Any) -> dict[str, Any]:
    """Six labelled images, and twelve in a folder without sub-folders."""
    folder = directory / "unlabelled"
    if not folder.exists():
        folder.mkdir(parents=True)
        for seed in range(12):
            Image.fromarray(garment(seed, 1)).save(folder / f"{seed}.png")
    config = make_config(
        directory, **{"method": "softmatch", "num_steps": 3, "ema_decay": 0.9, **train}
    )
    config["unlabelled"] = {"kind": "folder", "path": str(folder)}
    config["softmatch"] = {"num_labels": 6, "unlabelled_ratio": 2}
    config["consistency"] |= {"decay": 0.9, "hard": True, "loss_weight": 1.0}
    config["strong"] |= {"rand_augment": False, "random_erasing": 0.5}  # compiles in a third
    return config


@pytest.mark.slow
def test_it_trains_stops_and_goes_on_bit_for_bit(tmp_path, capsys):
    config = make_softmatch_config(tmp_path)
    assert train._train(config, False, threading.Event()) == 0
    printed = capsys.readouterr().out
    assert "6 of them drawn" in printed
    assert "2 of 12 unlabelled images to each labelled one" in printed
    run = tmp_path / "classifier" / "run-0"
    log = read_log(run)
    assert [row["step"] for row in log if "train/loss" in row] == [1, 2, 3]
    assert [row["step"] for row in log if "validation/accuracy" in row] == [2, 3]
    for row in log:
        if "train/loss" in row:
            assert 0 < row["train/weight"] <= 1
            np.testing.assert_allclose(  # float32 sums
                row["train/loss"],
                row["train/labelled_loss"] + row["train/consistency_loss"],
                rtol=1e-5,
            )
    result = json.loads((run / "result.json").read_bytes())
    assert np.sum(result["confusion"]) == 12
    for name in ("classifier", "classifier_best"):
        _, variables, described = pretrained.open_classifier(run / name)
        assert tuple(described.label_names) == CLASSES
        assert set(variables["params"]).isdisjoint({"heads", "classifier"})
    # Again, stopped after each step: the moving averages and the EMA of the weights go on too.
    run.rename(tmp_path / "whole")
    training = open_method(build.training(config))
    stops = 0
    while training.train(0, StopAfter(1)) is None:
        stops += 1
    assert stops == 2
    assert read_log(run) == log
    assert json.loads((run / "result.json").read_bytes())["confusion"] == result["confusion"]
    weights = [
        (path / "classifier/model.safetensors").read_bytes() for path in (run, tmp_path / "whole")
    ]
    assert weights[0] == weights[1]


def test_a_fixed_threshold_lets_nothing_uncertain_count(tmp_path):
    config = make_softmatch_config(tmp_path, num_steps=2, learning_rate=1e-4)
    config["consistency"] |= {"weighting": "fixed", "threshold": 1.0}
    assert train._train(config, False, threading.Event()) == 0
    losses = [row for row in read_log(tmp_path / "classifier" / "run-0") if "train/loss" in row]
    assert len(losses) == 2
    for row in losses:
        assert row["train/weight"] == row["train/consistency_loss"] == 0
        assert row["train/loss"] == row["train/labelled_loss"]


def test_the_run_decides_which_images_have_labels(tmp_path):
    training = open_method(build.training(make_softmatch_config(tmp_path)))
    drawn = [training._labelled(seed) for seed in (0, 0, 1)]
    names = [[example.name for example in (s[i] for i in range(len(s)))] for s in drawn]
    assert names[0] == names[1] != names[2]
    labels = [drawn[0][place].label for place in range(6)]
    assert np.bincount(labels).tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("num_labels", "message"),
    [(4, "Give a multiple of 3, such as 3"), (27, r"9 images of each class[\s\S]*'bag' \(8\)")],
)
def test_numbers_of_labels_that_cannot_be_drawn_are_refused(tmp_path, num_labels, message):
    config = make_softmatch_config(tmp_path)
    config["softmatch"]["num_labels"] = num_labels
    with pytest.raises(UserError, match=message):
        train._train(config, False, threading.Event())


def test_the_test_images_are_no_unlabelled_set(tmp_path, capsys):
    config = make_softmatch_config(tmp_path)
    config["unlabelled"]["path"] = str(tmp_path / "test")
    with pytest.raises(UserError, match=r"All 12 images of the test set are in section unlabelled"):
        build.training(config)
    # Neither under other names and among others; a part of them is only noted.
    for number, image in enumerate(sorted((tmp_path / "test").rglob("*.png"))):
        shutil.copy(image, tmp_path / "unlabelled" / f"copy{number}.png")
    config["unlabelled"]["path"] = str(tmp_path / "unlabelled")
    with pytest.raises(UserError, match="All 12 images of the test set"):
        build.training(config)
    (tmp_path / "unlabelled" / "copy0.png").unlink()
    build.training(config)
    assert "note        11 test images are among the unlabelled ones" in capsys.readouterr().out


def test_it_needs_an_unlabelled_set(tmp_path):
    config = make_softmatch_config(tmp_path)
    config["unlabelled"] = {"kind": None, "path": None}
    with pytest.raises(UserError, match=r"needs images without labels.*--config\.unlabelled\.kind"):
        build.training(config)


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("consistency", {"weighting": "soft"}, "consistency.weighting"),
        ("consistency", {"decay": 1.0}, "decay must be in"),
        ("softmatch", {"unlabelled_ratio": 0}, "unlabelled_ratio must be at least 1"),
        ("unlabelled", {"kind": "folders"}, "did you mean 'folder'"),
        ("augment", {"rand_augment": True}, "section strong"),
    ],
)
def test_values_that_do_not_fit_are_named(tmp_path, section, values, message):
    config = make_softmatch_config(tmp_path)
    config[section] |= values
    with pytest.raises(UserError, match=message):
        build.training(config)

"""`python -m dreamda_jax.train` from a configuration to files, and what it refuses."""

import json
import threading

import numpy as np
import pytest
from PIL import Image

from dreamda_jax.algorithms.metrics.accuracy import sole_prediction
from dreamda_jax.errors import UserError
from dreamda_jax.models.classifiers import pretrained
from dreamda_jax.runtime.log import read_log
from dreamda_jax.train import __main__ as train
from dreamda_jax.train import build
from tests.support.paths import SAMPLE
from tests.support.small_training import CLASSES, make_config, make_synthetic


def run(config) -> int:
    return train._train(config, False, threading.Event())


def test_two_runs_leave_logs_pictures_classifiers_and_a_table(tmp_path, capsys):
    config = make_config(tmp_path, num_runs=2, ema_decay=0.5, clip_norm=1.0, label_smoothing=0.1)
    assert run(config) == 0
    printed = capsys.readouterr().out
    assert "24 real images of 3 classes, 32x32" in printed
    assert "test accuracy  best on validation" in printed
    assert "±" in printed.splitlines()[-2]
    output = tmp_path / "classifier"
    results = json.loads((output / "results.json").read_bytes())["runs"]
    assert [result["seed"] for result in results] == [0, 1]
    for number, result in enumerate(results):
        made = output / f"run-{number}"
        steps = [row["step"] for row in read_log(made) if "train/loss" in row]
        assert steps == [1, 2, 3, 4]
        assert [row["step"] for row in read_log(made) if "validation/accuracy" in row] == [2, 4]
        for picture in ("confusion.png", "per_class.png", "curves.png"):
            assert min(Image.open(made / picture).size) > 100
        assert list((made / "tensorboard").iterdir())
        confusion = np.array(json.loads((made / "result.json").read_bytes())["confusion"])
        assert confusion.sum() == 12
        assert np.trace(confusion) / 12 == result["test_accuracy"]
        _, _, described = pretrained.open_classifier(made / "classifier_best")
        assert tuple(described.label_names) == CLASSES
    # Again: nothing is left to do, and the table is the same.
    assert run(config) == 0
    assert capsys.readouterr().out.splitlines()[-3] == printed.splitlines()[-3]


def test_one_class_for_every_image_and_a_class_that_cannot_be_read(tmp_path, capsys):
    config = make_config(tmp_path, num_steps=2)
    folder = tmp_path / "train" / "sandal"
    whole = {file: file.read_bytes() for file in folder.iterdir()}
    for file in whole:
        file.write_bytes(b"")
    with pytest.raises(UserError, match=r"class 'sandal' in the training images .*empty file"):
        run(config)
    assert not (tmp_path / "classifier" / "run-0").exists()
    for file, content in whole.items():
        file.write_bytes(content)
    assert run(config) == 0
    file = tmp_path / "classifier" / "run-0" / "result.json"
    content = json.loads(file.read_bytes())
    sole = sole_prediction(np.array(content["confusion"]))
    assert content["result"]["only_class"] == (None if sole is None else CLASSES[sole])

    # A run that ended under a version which did not look.
    del content["result"]["only_class"]
    content["confusion"] = [[0, 4, 0]] * 3
    file.write_text(json.dumps(content))
    capsys.readouterr()
    assert run(config) == 0
    assert "warning     run 0: every test image is taken for 'sandal'" in capsys.readouterr().out


@pytest.mark.slow
def test_more_runs_can_be_added_but_other_settings_are_refused(tmp_path, capsys):
    assert run(make_config(tmp_path)) == 0
    assert run(make_config(tmp_path, num_runs=2)) == 0
    assert "seed 1" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"other settings[\s\S]*train.learning_rate: 0.05 here"):
        run(make_config(tmp_path, learning_rate=0.1))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"train_on": "mixed"}, "24 real + 8 synthetic images"),
        ({"train_on": "mixed", "expansion": 1, "synthetic_ratio": 0.5}, "24 real + 4 synthetic"),
        ({"train_on": "synthetic"}, "0 real + 8 synthetic images"),
    ],
)
def test_it_trains_on_what_generate_made(tmp_path, capsys, data, expected):
    config = make_config(tmp_path)
    config["data"] |= data
    config["output"]["path"] = str(make_synthetic(tmp_path / "made"))
    assert run(config) == 0
    assert expected in capsys.readouterr().out


def test_a_synthetic_set_of_other_classes_is_refused_by_name(tmp_path):
    config = make_config(tmp_path)
    config["data"] |= {
        "train_on": "mixed",
        "synthetic": str(make_synthetic(tmp_path / "made", ("bag", "sandal", "beagle"))),
    }
    with pytest.raises(UserError, match=r"classes of the synthetic set [\s\S]*beagle"):
        run(config)


def test_an_absent_synthetic_set_is_named(tmp_path):
    config = make_config(tmp_path)
    config["data"] |= {"train_on": "mixed", "synthetic": str(tmp_path / "nowhere")}
    with pytest.raises(UserError, match=r"nowhere[\s\S]*data\.synthetic"):
        run(config)


def test_weights_that_are_not_there_are_refused_before_anything_is_computed(tmp_path):
    config = make_config(tmp_path)
    for weights in (tmp_path / "none.safetensors", tmp_path / "weights.pth"):
        config["classifier"]["weights"] = str(weights)
        with pytest.raises(UserError, match=weights.name):
            build.training(config)


@pytest.mark.slow
def test_weights_of_another_architecture_are_refused_by_tensor(tmp_path):
    config = make_config(tmp_path, num_steps=2)
    run(config)
    config["classifier"] |= {
        "name": "mobilenet_v2",
        "weights": str(tmp_path / "classifier" / "run-0" / "classifier" / "model.safetensors"),
    }
    config["train"]["output"] = str(tmp_path / "other")
    with pytest.raises(UserError, match=r"of resnet_tiny.*missing.*features[\s\S]*resnet\."):
        run(config)


@pytest.mark.slow
def test_weights_of_ones_own_go_on_with_another_number_of_classes(tmp_path, capsys):
    config = make_config(tmp_path, num_steps=2)
    run(config)
    oracle = SAMPLE / "oracle"
    config["classifier"]["weights"] = str(oracle)
    config["train"]["output"] = str(tmp_path / "other")
    assert run(config) == 0
    assert "10" in next(x for x in capsys.readouterr().out.splitlines() if x.startswith("head"))


def test_pretrained_means_the_standard_weights_of_the_hub(tmp_path):
    config = make_config(tmp_path)
    config["classifier"] |= {"name": "swin_v2_t", "weights": "pretrained"}
    setup = build.training(config)
    assert setup.network.weights == "timm/swinv2_tiny_window8_256.ms_in1k"
    config["classifier"]["name"] = "resnet_tiny"
    with pytest.raises(UserError, match=r"no standard ImageNet weights of resnet_tiny.*resnet50"):
        run(config)


def test_an_empty_split_is_refused(tmp_path):
    config = make_config(tmp_path)
    (tmp_path / "empty" / "bag").mkdir(parents=True)
    config["test"] = {"path": str(tmp_path / "empty")}
    with pytest.raises(UserError, match="empty"):
        run(config)


def test_training_and_test_set_must_differ(tmp_path):
    config = make_config(tmp_path)
    config["test"] = {"path": str(tmp_path / "train")}
    with pytest.raises(UserError, match="images of section test are in the training set"):
        run(config)


def test_something_must_be_measured(tmp_path):
    config = make_config(tmp_path)
    config["test"] = config["validation"] = {"path": None}
    with pytest.raises(UserError, match=r"--config\.test\.path"):
        run(config)


def test_without_validation_there_is_no_best(tmp_path, capsys):
    config = make_config(tmp_path)
    config["validation"] = {"path": None}
    assert run(config) == 0
    assert "best" not in capsys.readouterr().out
    assert not (tmp_path / "classifier" / "run-0" / "best").exists()


def test_divergence_says_at_which_step_and_keeps_the_checkpoint(tmp_path):
    config = make_config(tmp_path, learning_rate=1e30, num_steps=4, checkpoint_every=1)
    with pytest.raises(UserError, match=r"diverged at step [23].*learning_rate"):
        run(config)
    assert (tmp_path / "classifier" / "run-0" / "checkpoints").is_dir()


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("classifier", {"name": "resnet"}, "did you mean 'resnet"),
        ("train", {"recipe": "offical"}, "did you mean 'official'"),
        ("train", {"batch_size": 7}, "multiple of the 2 devices"),
        ("train", {"fsdp": 3}, "fsdp=3 does not divide"),
        ("train", {"learning_rate": -1.0}, "learning_rate must be positive"),
        ("augment", {"crop": "random"}, "augment.crop"),
        ("data", {"synthetic_ratio": 1.5}, "between 0 and 1"),
        ("classifier", {"canvas": 16}, "canvas=16 is smaller"),
    ],
)
def test_values_that_do_not_fit_are_named(tmp_path, section, values, message):
    config = make_config(tmp_path)
    config[section] |= values
    with pytest.raises(UserError, match=message):
        run(config)


def test_a_broken_image_is_replaced_and_named(tmp_path, capsys):
    config = make_config(tmp_path)
    victim = next((tmp_path / "train" / "bag").iterdir())
    victim.write_bytes(victim.read_bytes()[:60])
    assert run(config) == 0
    assert victim.name in capsys.readouterr().out

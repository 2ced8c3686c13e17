"""`python -m dreamda_jax.evaluate` from sets of images to a report; and what it refuses."""

import contextlib
import io
import json
import shutil
import threading

import numpy as np
import pytest
from PIL import Image

from dreamda_jax.data.sets import training_results
from dreamda_jax.data.sources.folder import open_folder
from dreamda_jax.errors import UserError
from dreamda_jax.evaluate import __main__ as evaluate
from dreamda_jax.evaluate import build
from dreamda_jax.models import extractors
from tests.support.small_training import (
    CLASSES,
    StopAfter,
    garment,
    make_config,
    make_folder,
    make_synthetic,
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Features of all tests of this file."""
    return tmp_path_factory.mktemp("features")


@pytest.fixture(scope="module")
def base(tmp_path_factory, cache):
    """Training images of three classes, and a set of darker ones made from six of them."""
    directory = tmp_path_factory.mktemp("evaluate")
    config = make_config(directory)
    config["output"]["path"] = str(make_synthetic(directory / "made", seeds=6, pixels=garment))
    config["evaluate"] |= {"cache": str(cache), "batch_size": 8, "num_neighbours": 3}
    return config


def run(config, *, real=None, synthetic=None, stop=None):
    """The report and what was printed."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        given = {"real": real and str(real), "synthetic": synthetic and str(synthetic)}
        assert evaluate._evaluate(config, given, False, stop or threading.Event()) == 0
    output = build.evaluation(config, **given).output
    return json.loads((output / "report.json").read_bytes()), printed.getvalue(), output


def with_options(config, **options):
    return {**config, "evaluate": {**config["evaluate"], **options}}


def value(report, name):
    (row,) = [row for row in report["metrics"] if row["name"] == name]
    return row


def test_a_set_of_ours(base):
    report, printed, output = run(base)
    assert {name: of["images"] for name, of in report["sets"].items()} == {
        "real": 24,
        "synthetic": 12,
        "test": 12,
    }
    names = [row["name"] for row in report["metrics"]]
    assert names == [
        *("fid", "kid", "cmmd", "mmd", "precision", "recall", "density", "coverage"),
        "clip_score",
    ]
    for row in report["metrics"]:
        assert row["value"] is not None, row
        assert row["baseline"] is not None, row
    assert [row["synthetic"] for row in report["per_class"]] == [4, 4, 4]
    assert 0 < report["diversity"]["ratio"] < 1  # two variants that differ in brightness
    assert report["settings"]["evaluate"]["num_neighbours"] == 3
    assert f"look at {output / 'report.html'}" in printed
    assert "12 synthetic" in printed
    page = (output / "report.html").read_text()
    assert page.count("data:image/") >= 12
    assert (output / "copies.jsonl").exists()


def test_copies_of_training_and_of_test_images_are_found(base, tmp_path):
    """Planted: a copy, a mirrored one, a recompressed one; and a test image."""
    config = with_options(base, clip=False, output=str(tmp_path / "report"))
    made = make_folder(tmp_path / "made", split="validation", per_class=3)
    real = open_folder(base["source"]["path"])
    originals = [Image.open(real[place].content).convert("RGB") for place in (0, 9, 17)]
    originals[0].save(made / "bag" / "copy.png")
    originals[1].transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(made / "sandal" / "mirrored.png")
    originals[2].save(made / "trousers" / "recompressed.jpg", quality=75)
    leak = open_folder(base["test"]["path"])[0].content
    shutil.copy(leak, made / "bag" / "leak.png")
    report, printed, output = run(config, synthetic=made)
    lines = [json.loads(line) for line in (output / "copies.jsonl").read_text().splitlines()]
    found = {(line["found_in"], line["synthetic"]): line for line in lines}
    assert set(found) == {
        ("training", "bag/copy.png"),
        ("training", "sandal/mirrored.png"),
        ("training", "trousers/recompressed.jpg"),
        ("test", "bag/leak.png"),
    }
    for place, name in (
        (0, "bag/copy.png"),
        (9, "sandal/mirrored.png"),
        (17, "trousers/recompressed.jpg"),
    ):
        assert found["training", name]["real"] == real[place].name
    assert found["training", "sandal/mirrored.png"]["mirrored"]
    assert found["training", "bag/copy.png"]["feature_distance"] == 0
    copies = report["copies"]
    assert (copies["training"]["flagged"], copies["test"]["flagged"]) == (3, 1)
    assert all(pair["synthetic_image"] and pair["real_image"] for pair in copies["test"]["pairs"])
    assert "3 of 13 synthetic images look like copies of real images" in printed
    assert any("test" in advice for advice in report["advice"])


def test_classifiers_their_audit_and_the_cost(base, tmp_path):
    from dreamda_jax.data.sets import production_log

    made = tmp_path / "made"
    shutil.copytree(base["output"]["path"], made)
    for images in (4, 8):
        session = {"devices": "1 x cpu", "images": images, "seconds": 2.0, "images_in_seconds": 3}
        production_log.append_session(made, {**session, "flops_per_image": 5e12}, process_index=0)
    trained = []
    for name, method, accuracies in (("real", "supervised", (0.5, 0.7)), ("amst", "amst", (0.8,))):
        directory = tmp_path / name
        _write_training(directory, method=method, accuracies=accuracies)
        trained.append(str(directory))
    audit = {**_AUDIT, "label_names": list(CLASSES)}
    (tmp_path / "amst" / "run-0" / "round-1").mkdir()
    (tmp_path / "amst" / "run-0" / "round-1" / "audit.json").write_text(json.dumps(audit))
    config = with_options(
        base, classifiers=",".join(trained), output=str(tmp_path / "report"), clip=False
    )
    report, printed, _ = run(config, synthetic=made)
    first, second = report["accuracy"]
    assert (first["mean"], first["runs"], second["std"]) == (0.6, [0.5, 0.7], None)
    assert (first["trained_on"], second["trained_on"]) == ("real", "mixed")
    assert [row["accuracy"] for row in first["per_class"]] == [1.0, 0.5, 0.0]
    assert report["audit"]["accepted"] == 7
    assert report["cost"] == {
        "images": 12,
        "tflop_per_image": 5.0,
        "tflop": 60.0,
        "seconds": 4.0,
        "images_per_second": 1.5,
        "devices": "1 x cpu",
    }
    assert "80.00%" in printed


def test_features_are_computed_once_and_a_stop_can_be_gone_on_from(base, tmp_path, monkeypatch):
    config = with_options(base, cache=str(tmp_path / "cache"), clip=False)
    config["evaluate"]["output"] = str(tmp_path / "report")
    given = {"real": None, "synthetic": None}
    assert evaluate._evaluate(config, given, False, StopAfter(2)) is None
    assert not (tmp_path / "report" / "report.html").exists()
    first, _, _ = run(config)
    monkeypatch.setattr(
        "dreamda_jax.data.perceptual_hash.fingerprint", lambda pixels: pytest.fail("again")
    )
    again, _, _ = run(config)
    assert first["metrics"] == again["metrics"]


def test_classes_of_one_set_only_are_said(base, tmp_path):
    made = make_folder(tmp_path / "made", split="validation", per_class=4, classes=("bag", "coat"))
    config = with_options(base, clip=False, output=str(tmp_path / "report"))
    report, printed, _ = run(config, synthetic=made)
    assert "warning     1 of 4 classes: in the synthetic set only" in printed
    assert "coat" in printed
    of_class = {row["name"]: row for row in report["per_class"]}
    assert set(of_class) == {*CLASSES, "coat"}
    assert of_class["coat"]["real"] == 0
    assert of_class["coat"]["fid"] is None
    assert report["diversity"] is None  # an image folder tells no seeds


def test_a_single_image_and_identical_ones(base, tmp_path):
    config = with_options(base, clip=False, output=str(tmp_path / "one"))
    made = make_folder(tmp_path / "made", split="validation", per_class=1, classes=("bag",))
    report, printed, _ = run(config, synthetic=made)
    assert value(report, "fid")["value"] is None
    assert "at least 2" in value(report, "fid")["note"]
    assert "FID" in printed
    (image,) = made.glob("bag/*.png")
    for number in range(6):
        shutil.copy(image, made / "bag" / f"again-{number}.png")
    report, _, _ = run(with_options(config, output=str(tmp_path / "same")), synthetic=made)
    assert value(report, "fid")["value"] > 0
    assert value(report, "recall")["value"] == 0
    assert any(warning.startswith("6 synthetic images are repet") for warning in report["warnings"])
    assert not any("noise" in advice for advice in report["advice"])  # not of our making


def test_a_dry_run_says_what_would_be_done_and_does_nothing(base, tmp_path, capsys):
    config = with_options(base, output=str(tmp_path / "report"), cache=str(tmp_path / "cache"))
    given = {"real": None, "synthetic": None}
    assert evaluate._evaluate(config, given, True, threading.Event()) == 0
    assert "24 real, 12 synthetic, 12 test" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_the_distance_shown_is_that_of_the_pair_shown(base, tmp_path):
    made = make_folder(tmp_path / "made", split="validation", per_class=2)
    real = open_folder(base["source"]["path"])
    original = Image.open(real[9].content).convert("RGB")
    mirrored = original.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    mirrored.save(made / "sandal" / "mirrored.png")
    config = with_options(base, clip=False, output=str(tmp_path / "report"))
    report, _, _ = run(config, synthetic=made)
    (pair,) = [pair for pair in report["copies"]["training"]["pairs"] if pair["flagged"]]
    extractor = extractors.open_extractor("sample", inception_weights=None, resize="clean")
    both = np.stack([np.asarray(mirrored), np.asarray(original)])
    features = np.asarray(extractor.features(extractor.params, both), np.float64)
    distance = np.linalg.norm(features[0] - features[1])
    assert abs(pair["feature_distance"] / distance - 1) < 1e-4


def test_another_real_set_leaves_the_configured_test_split_out(base, tmp_path):
    real = make_folder(tmp_path / "real", split="test", per_class=5)
    config = with_options(base, clip=False, output=str(tmp_path / "report"))
    config["test"] = {"split": "test"}  # of section source, which is not looked at
    report, _, _ = run(config, real=real)
    assert report["sets"]["real"]["images"] == 15
    assert report["sets"]["test"] is None
    assert all(row["baseline"] is None for row in report["metrics"])
    assert any("without their seeds" in warning for warning in report["warnings"])


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ({"synthetic": "absent"}, {}, "absent does not exist.*generate"),
        ({"real": "train", "synthetic": "train"}, {}, "are the same set"),
        ({"synthetic": "empty"}, {}, "empty"),
        ({}, {"extractor": "inception"}, "pt_inception-2015-12-05.*extractor=clip"),
        ({}, {"extractor": "incption"}, "neither inception, clip, sample nor the directory"),
        ({}, {"classifiers": "train"}, "train has no results.json"),
        ({}, {"classifiers": "damaged"}, "damaged is no finished output"),
        ({}, {"clip": True}, "no such directory.*evaluate.clip=False"),
        ({}, {"output": "config.json/report"}, "report directory .* cannot be written"),
        ({"real": "absent"}, {}, "no real images: absent does not exist. Give --real"),
        ({}, {"num_neighbours": 0}, "num_neighbours must be at least 1"),
        ({"synthetic": "unfinished"}, {}, "generate.*again|not finished|missing"),
    ],
)
def test_what_is_refused(base, tmp_path, monkeypatch, given, options, message):
    directory = build.Path(base["source"]["path"]).parent
    monkeypatch.chdir(directory)
    (directory / "empty").mkdir(exist_ok=True)
    (directory / "config.json").write_bytes(b"{}")
    (directory / "damaged").mkdir(exist_ok=True)
    (directory / "damaged" / "results.json").write_bytes(b"{")
    if not (directory / "unfinished").exists():
        shutil.copytree(base["output"]["path"], directory / "unfinished")
        (directory / "unfinished" / "dataset_info.json").unlink()
    config = with_options(base, **{"clip": False, "output": str(tmp_path), **options})
    if options.get("clip"):
        config["clip"] = {"path": "/absent"}
    call = {"real": None, "synthetic": None, **given}
    with pytest.raises(UserError, match=rf"(?s){message}"):
        evaluate._evaluate(config, call, False, threading.Event())


_AUDIT = {
    "images": 12,
    "accepted": 7,
    "changed": 1,
    "threshold": 0.01,
    "classes": [
        {"name": name, "images": 4, "unchanged": 2, "changed": 0, "rejected": 2} for name in CLASSES
    ],
    "changes": [[2, 0, 0], [0, 2, 0], [0, 0, 2]],
    "rejected": {"disagree": 1, "uncertain": 4, "both": 0, "undecodable": 0, "other": 0},
    "labellings": None,
}


def _write_training(directory, *, method, accuracies):
    settings = {
        "train": {"method": method},
        "data": {"train_on": "real"},
        "sha256": {"real": "0", "test": "1"},
    }
    (directory / "run-0").mkdir(parents=True)
    files = {
        "config.json": {"settings": settings},
        "results.json": {"runs": [{"test_accuracy": value} for value in accuracies]},
        "run-0/result.json": {
            "label_names": list(CLASSES),
            "confusion": np.diag([2, 1, 0]).tolist(),
        },
    }
    files["run-0/result.json"]["confusion"][1][0] = 1
    files["run-0/result.json"]["confusion"][2][0] = 2
    for name, content in files.items():
        (directory / name).write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("options", "method"),
    [
        ({}, "amst"),
        ({"pseudo_labels": "seed"}, "amst, seed labels"),
        (
            {"pseudo_labels": "x.parquet", "consistency": False},
            "amst, labels from a file, no consistency",
        ),
        ({"multi_head": False}, "amst, one head"),
    ],
)
def test_ablations_are_told_apart(tmp_path, options, method):
    _write_training(tmp_path / "amst", method="amst", accuracies=(0.5,))
    file = tmp_path / "amst" / "config.json"
    content = json.loads(file.read_bytes())
    defaults = {"pseudo_labels": "amst", "multi_head": True, "consistency": True}
    content["settings"]["amst"] = {**defaults, **options}
    file.write_text(json.dumps(content))
    found = training_results.read_results(tmp_path / "amst")
    assert (found.method, found.train_on) == (method, "mixed")


def test_a_training_that_has_not_ended_is_refused(tmp_path):
    _write_training(tmp_path / "amst", method="amst", accuracies=(0.5,))
    (tmp_path / "amst" / "run-0" / "result.json").write_bytes(b"{")
    with pytest.raises(UserError, match="no finished output"):
        training_results.read_results(tmp_path / "amst")

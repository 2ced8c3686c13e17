"""The label audit: exact numbers, a table that reads well, and pictures with the right images."""

import json

import numpy as np
import pytest
from PIL import Image

from dreamda_jax.data.sets.verdicts import Verdicts
from dreamda_jax.train import audit_sheet as sheets
from dreamda_jax.train import label_audit
from dreamda_jax.train.audit_sheet import audit_sheet, caption, cell_corner, spread

NAMES = ("shirt", "coat", "bag")
#          kept  kept  changed  disagree uncertain undecodable | both  kept  changed changed
SEED = [0, 0, 0, 0, 0, 0, 1, 1, 1, 1]
HEADS = [[0, 0], [0, 0], [1, 1], [1, 0], [1, 1], [0, 0], [1, 2], [1, 1], [0, 0], [0, 0]]
UNCERTAINTY = [0.001, 0.002, 0.003, 0.004, 0.031, np.nan, 0.02, 0.001, 0.002, 0.003]
PSEUDO = [0, 0, 1, -1, -1, -1, -1, 1, 0, 0]
ORACLE = [0, 1, 1, 0, 1, -1, 2, 1, 0, 1]


def make_verdicts():
    pseudo = np.array(PSEUDO, np.int32)
    n = len(pseudo)
    return Verdicts(
        seed_id=np.arange(n),
        variant=np.zeros(n, np.int64),
        seed_label=np.array(SEED, np.int32),
        predictions=np.array(HEADS, np.int32),
        uncertainty=np.array(UNCERTAINTY, np.float32),
        accepted=pseudo >= 0,
        pseudo_label=pseudo,
        probabilities=np.full((n, 3), 1 / 3, np.float32),
        decoded=np.arange(n) != 5,
    )


def make_audit(oracle=True):
    return label_audit.audit(
        make_verdicts(),
        label_names=NAMES,
        threshold=0.01,
        oracle=np.array(ORACLE) if oracle else None,
        labellings={"seed": np.array(SEED), "amst": np.array(PSEUDO), "none": np.full(10, -1)},
    )


def many_classes(num_classes, per_class):
    n = num_classes * per_class
    seed = np.repeat(np.arange(num_classes), per_class).astype(np.int32)
    rank = np.tile(np.arange(per_class), num_classes)
    accepted = rank >= seed % (per_class + 1)
    return Verdicts(
        seed_id=np.arange(n),
        variant=np.zeros(n, np.int64),
        seed_label=seed,
        predictions=np.zeros((n, 0), np.int32),
        uncertainty=np.full(n, np.nan, np.float32),
        accepted=accepted,
        pseudo_label=np.where(accepted, seed, -1).astype(np.int32),
        probabilities=np.zeros((n, num_classes), np.float32),
        decoded=np.ones(n, bool),
    )


def test_counts():
    found = make_audit(oracle=False)
    assert (found["images"], found["accepted"], found["changed"]) == (10, 6, 3)
    assert found["classes"] == [
        {"name": "shirt", "images": 6, "unchanged": 2, "changed": 1, "rejected": 3},
        {"name": "coat", "images": 4, "unchanged": 1, "changed": 2, "rejected": 1},
        {"name": "bag", "images": 0, "unchanged": 0, "changed": 0, "rejected": 0},
    ]
    assert found["changes"] == [[2, 1, 0], [2, 1, 0], [0, 0, 0]]
    assert found["rejected"] == {
        "disagree": 1, "uncertain": 1, "both": 1, "undecodable": 1, "other": 0
    }  # fmt: skip
    assert found["labellings"] is None


def test_precision_side_by_side():
    found = make_audit()["labellings"]
    assert found["seed"] == {
        "coverage": 1.0,
        "precision": pytest.approx(4 / 9),  # the oracle has no class for one
        "precision_on_accepted": pytest.approx(3 / 6),
        "precision_on_changed": pytest.approx(1 / 3),
        "by_class": {
            "precision": [pytest.approx(2 / 5), pytest.approx(2 / 4), None],
            "precision_on_accepted": [pytest.approx(1 / 3), pytest.approx(2 / 3), None],
        },
    }
    assert found["amst"] == {
        "coverage": 0.6,
        "precision": pytest.approx(4 / 6),
        "precision_on_accepted": pytest.approx(4 / 6),
        "precision_on_changed": pytest.approx(2 / 3),
        "by_class": {
            "precision": [pytest.approx(2 / 3), pytest.approx(2 / 3), None],
            "precision_on_accepted": [pytest.approx(2 / 3), pytest.approx(2 / 3), None],
        },
    }
    assert found["none"]["coverage"] == 0.0
    assert found["none"]["precision"] is None


def test_labels_of_another_set():
    with pytest.raises(ValueError, match="oracle has shape"):
        label_audit.audit(
            make_verdicts(), label_names=NAMES, threshold=1, oracle=np.zeros(3), labellings={}
        )


def test_text():
    assert label_audit.audit_text(make_audit()).splitlines() == [
        "accepted  6 of 10 images (60.0%), 3 of them with another class than the seed's (50.0%)",
        "rejected  4: heads disagree 1, uncertain 1, both 1, undecodable 1 "
        "(uncertain: variance >= 0.01)",
        "",
        "class  images  accepted         changed  mostly to   seed   amst  none",
        "shirt       6         3  50.0%        1  coat (1)   40.0%  66.7%     -",
        "coat        4         3  75.0%        2  shirt (2)  50.0%  66.7%     -",
        "bag         0         0      -        0                 -      -     -",
        "",
        "precision by the oracle    seed   amst  none",
        "all it labels             44.4%  66.7%     -",
        "on the accepted           50.0%  66.7%     -",
        "on the changed            33.3%  66.7%     -",
        "images labelled          100.0%  60.0%  0.0%",
    ]


def test_text_without_oracle_and_without_images():
    text = label_audit.audit_text(make_audit(oracle=False))
    assert "oracle" not in text
    assert text.splitlines()[3] == "class  images  accepted         changed  mostly to"
    empty = Verdicts(*(field[:0] for field in make_verdicts()))
    nothing = np.zeros(0, int)
    found = label_audit.audit(
        empty, label_names=NAMES, threshold=1, oracle=nothing, labellings={"seed": nothing}
    )
    assert label_audit.audit_text(found).startswith("accepted  0 of 0 images, 0 of them")
    assert found["labellings"]["seed"]["coverage"] is None


def test_of_many_classes_those_least_accepted_are_listed():
    verdicts = many_classes(60, 4)  # of class i, i % 5 of 4 are rejected
    found = label_audit.audit(
        verdicts, label_names=[f"c{i}" for i in range(60)], threshold=1, oracle=None, labellings={}
    )
    lines = label_audit.audit_text(found).splitlines()
    listed = [int(line.split()[0][1:]) for line in lines if line.startswith("c") and "%" in line]
    assert len(listed) == 20
    assert listed == sorted(listed)
    assert {label for label in range(60) if label % 5 == 4} <= set(listed)
    assert {label % 5 for label in listed} == {3, 4}
    assert "and 40 classes" in lines[-1]


def test_written_files(tmp_path, drawn):
    found = make_audit()
    pixels = np.zeros((8, 8, 3), np.uint8)
    label_audit.write_audit(tmp_path, found, make_verdicts(), image_of=lambda place: pixels)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["acceptance.png", "audit.json", "audit.png"]
    assert json.loads((tmp_path / "audit.json").read_text()) == found
    (axes,) = drawn[0].axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["coat", "shirt", "bag"]
    bars = [[round(bar.get_width(), 3) for bar in container] for container in axes.containers]
    assert bars == [[0.25, 0.333, 0], [0.5, 0.167, 0], [0.25, 0.5, 0]]  # kept, changed, rejected
    words = [text.get_text() for text in axes.texts]
    assert words == ["75.0% of 4", "50.0% of 6", "no images"]


def test_captions():
    verdicts = make_verdicts()
    assert caption(verdicts, 0, NAMES) == ["shirt"]
    assert caption(verdicts, 2, NAMES) == ["coat"]
    assert caption(verdicts, 3, NAMES) == ["disagree:", "coat/shirt"]
    assert caption(verdicts, 4, NAMES) == ["variance 0.031", "coat"]
    assert caption(verdicts, 5, NAMES) == ["undecodable"]
    most_named_first = verdicts._replace(predictions=np.array([[2, 0, 0, 1]] * 10, np.int32))
    assert caption(most_named_first, 3, NAMES) == ["disagree:", "shirt/bag/coat"]
    assert caption(many_classes(2, 3), 3, ("a", "b")) == []  # neither heads nor uncertainty


def test_spread():
    assert spread(np.arange(3), 4).tolist() == [0, 1, 2]
    assert spread(np.arange(8), 4).tolist() == [1, 3, 5, 7]
    assert spread(np.arange(100, 200), 4).tolist() == [112, 137, 162, 187]


def cell(sheet, row, group, column):
    x, y = cell_corner(row, group, column)
    cut = np.asarray(sheet)[y : y + sheets.CELL, x : x + sheets.CELL]
    colours = np.unique(cut.reshape(-1, 3), axis=0)
    return colours.tolist()


def test_sheet_shows_each_image_at_its_place(tmp_path):
    def image_of(place):
        return None if place == 5 else np.full((16, 24, 3), 10 * place, np.uint8)

    audit_sheet(make_verdicts(), label_names=NAMES, image_of=image_of, path=tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as sheet:
        assert sheet.size == cell_corner(2, 2, 4)  # no row for a class without seeds
        shown = {  # (row, group): places
            (0, 0): [0, 1],
            (0, 1): [2],
            (0, 2): [3, 4, 5],
            (1, 0): [7],
            (1, 1): [8, 9],
            (1, 2): [6],
        }
        for (row, group), places in shown.items():
            for column in range(4):
                colour = [250] * 3  # paper
                if column < len(places):
                    colour = [225] * 3 if places[column] == 5 else [10 * places[column]] * 3
                assert cell(sheet, row, group, column) == [colour]
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_sheet_of_many_classes_takes_some_of_them(tmp_path):
    verdicts = many_classes(100, 9)
    asked = []

    def image_of(place):
        asked.append(place)
        return np.zeros((4, 4, 3), np.uint8)

    names = [f"class {i}" for i in range(100)]
    audit_sheet(verdicts, label_names=names, image_of=image_of, path=tmp_path / "a.png")
    assert np.unique(verdicts.seed_label[asked]).tolist() == list(range(2, 100, 5))
    assert len(asked) <= 20 * 2 * 4
    first = (tmp_path / "a.png").read_bytes()
    audit_sheet(verdicts, label_names=names, image_of=image_of, path=tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == first


def test_no_sheet_of_nothing(tmp_path):
    empty = Verdicts(*(field[:0] for field in make_verdicts()))
    audit_sheet(empty, label_names=NAMES, image_of=lambda place: None, path=tmp_path / "a.png")
    assert not list(tmp_path.iterdir())

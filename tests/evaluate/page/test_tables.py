"""The order of the page's tables, and the gain of the best classifier over the first."""

import pytest

from dreamda_jax.evaluate.gain import best_gain
from dreamda_jax.evaluate.page import tables


def entry(name, runs, *, std=0.01, measured_on="test", per_class=()):
    return {
        "name": name,
        "mean": sum(runs) / len(runs),
        "std": std if len(runs) > 1 else None,
        "runs": list(runs),
        "measured_on": measured_on,
        "per_class": [{"name": label, "accuracy": value} for label, value in per_class],
    }


REAL = entry("real", [0.70, 0.72], per_class=[("a", 0.5), ("b", 0.9), ("c", 0.6)])
MIXED = entry("mixed", [0.69], per_class=[("a", 0.6), ("b", 0.9)])
AMST = entry("amst", [0.75, 0.77], per_class=[("a", 0.6), ("b", 0.7), ("d", None)])


def test_gain():
    found = best_gain([REAL, MIXED, AMST])
    assert (found.baseline, found.best) == (REAL, AMST)
    assert found.difference == pytest.approx(0.05)
    assert found.error == pytest.approx((2 * 0.01**2 / 2) ** 0.5)
    assert best_gain([REAL, MIXED]).error is None
    assert best_gain([REAL, MIXED]).difference < 0
    assert best_gain([REAL]) is None
    assert best_gain([]) is None


def test_gain_compares_like_with_like():
    on_validation = entry("better", [0.99], measured_on="validation")
    assert best_gain([REAL, on_validation]) is None
    assert best_gain([REAL, on_validation, MIXED]).best is MIXED


def test_accuracy_table():
    validation = entry("other", [0.8], measured_on="validation")
    table = tables.accuracy_table([REAL, MIXED, AMST, validation])
    assert [row.colour for row in table.classifiers] == [0, 1, 2, 3]
    differences = [row.difference for row in table.classifiers]
    assert differences == [None, pytest.approx(-0.02), pytest.approx(0.05), None]
    assert table.baseline == table.classifiers[0].mean
    assert [len(row.runs) for row in table.classifiers] == [2, 0, 2, 0]
    # By falling gain of amst over real; classes that one of them lacks come last.
    assert [(name, difference) for name, _, difference in table.classes] == [
        ("a", pytest.approx(0.1)), ("b", pytest.approx(-0.2)), ("c", None), ("d", None)
    ]  # fmt: skip
    assert table.classes[0][1] == [0.5, 0.6, 0.6, None]


def test_accuracy_table_of_nothing():
    table = tables.accuracy_table([])
    assert (table.classifiers, table.classes, table.baseline, table.gain) == ([], [], None, None)


def test_classes_by_falling_fid():
    rows = [
        {"name": name, "real": 1, "synthetic": 2, "fid": fid, "diversity": None}
        for name, fid in [("a", 3.0), ("b", None), ("c", 6.0), ("d", float("nan"))]
    ]
    found = tables.class_rows(rows)
    assert [row.name for row in found] == ["c", "a", "b", "d"]
    assert [row.fid_bar for row in found] == ["100.0%", "50.0%", None, None]
    assert {row.diversity_bar for row in found} == {None}


def test_labels_least_accepted_first():
    audit = {
        "label_names": ["a", "b", "c"],
        "classes": [
            {"name": "a", "images": 4, "unchanged": 3, "changed": 1, "rejected": 0},
            {"name": "b", "images": 4, "unchanged": 1, "changed": 2, "rejected": 1},
            {"name": "c", "images": 0, "unchanged": 0, "changed": 0, "rejected": 0},
        ],
        "changes": [[3, 0, 1], [2, 1, 0], [0, 0, 0]],
        "labellings": {"seed": {"by_class": {"precision": [0.5, None, None]}}},
    }
    rows = tables.label_rows(audit)
    assert [(row.name, row.mostly_to, row.precisions) for row in rows] == [
        ("b", ("a", 2), [None]), ("a", ("c", 1), [0.5])
    ]  # fmt: skip
    without_oracle = tables.label_rows(audit | {"labellings": None})
    assert [row.precisions for row in without_oracle] == [[], []]


def test_pairs():
    pairs = [
        {"flagged": flagged, "feature_distance": distance}
        for flagged, distance in [(True, 3), (False, 1), (True, 2), (False, 0)]
    ]
    flagged, others = tables.split_pairs(pairs)
    assert [pair["feature_distance"] for pair in flagged] == [2, 3]
    assert [pair["feature_distance"] for pair in others] == [0, 1]

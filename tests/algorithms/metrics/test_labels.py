"""Label precision and what became of each class, on numbers small enough to count by hand."""

import math

import numpy as np
import pytest

from dreamda_jax.algorithms.metrics.labels import acceptance, label_precision, rejections

SEED = np.array([0, 0, 0, 1, 1, 2], np.int32)
PSEUDO = np.array([0, 1, -1, 1, 2, -1], np.int32)


def test_precision():
    reference = np.array([0, 0, 0, 1, 2, 1])
    assert label_precision(SEED, reference) == pytest.approx(4 / 6)
    assert label_precision(PSEUDO, reference) == pytest.approx(3 / 4)  # rows 2 and 5 have no label
    assert label_precision(SEED, reference, PSEUDO >= 0) == pytest.approx(3 / 4)
    assert label_precision(SEED, reference, SEED == 1) == pytest.approx(1 / 2)
    assert label_precision(SEED, np.array([0, 0, -1, -1, -1, 1])) == pytest.approx(2 / 3)


def test_precision_of_nothing():
    assert math.isnan(label_precision(SEED, SEED, np.zeros(6, bool)))
    assert math.isnan(label_precision(np.full(6, -1), SEED))
    assert math.isnan(label_precision(np.full(6, -1), np.full(6, -1)))
    assert math.isnan(label_precision(np.zeros(0, int), np.zeros(0, int)))


def test_acceptance():
    counts = acceptance(SEED, PSEUDO, num_classes=4)
    assert counts.total.tolist() == [3, 2, 1, 0]
    assert counts.unchanged.tolist() == [1, 1, 0, 0]
    assert counts.changed.tolist() == [1, 1, 0, 0]
    assert counts.rejected.tolist() == [1, 0, 1, 0]
    assert counts.changes.tolist() == [[1, 1, 0, 0], [0, 1, 1, 0], [0] * 4, [0] * 4]
    nothing = acceptance(SEED[:0], PSEUDO[:0], num_classes=2)
    assert nothing.total.tolist() == nothing.rejected.tolist() == [0, 0]


def test_rejections():
    same, differ = [1, 1, 1, 1], [1, 1, 2, 1]
    rows = [  # heads, uncertainty, decoded, accepted
        (same, 0.001, True, True),
        (differ, 0.001, True, False),
        (differ, 0.009, True, False),
        (same, 0.01, True, False),  # at the threshold is too much
        (differ, 0.02, True, False),
        (differ, 0.02, False, False),
        (same, np.nan, True, False),
    ]
    predictions, uncertainty, decoded, accepted = map(np.array, zip(*rows, strict=True))
    found = rejections(
        predictions, uncertainty.astype(np.float32), decoded, accepted, threshold=0.01
    )
    assert found == (2, 1, 1, 1, 1)
    assert sum(found) == np.sum(~accepted)


@pytest.mark.parametrize("num_heads", [0, 1])
def test_fewer_than_two_heads_never_disagree(num_heads):
    found = rejections(
        np.zeros((3, num_heads), np.int32),
        np.array([np.nan, 0.5, 0.001], np.float32),
        np.ones(3, bool),
        np.array([True, False, False]),
        threshold=0.01,
    )
    assert found._asdict() == {
        "disagree": 0, "uncertain": 1, "both": 0, "undecodable": 0, "other": 1
    }  # fmt: skip

"""Accuracy against scikit-learn (tests/reference/make_accuracy.py). Counts are equal exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamda_jax.algorithms.metrics.accuracy import (
    confusion_matrix,
    per_class_accuracy,
    sole_prediction,
    top1,
)
from tests.support.paths import REFERENCE

CLASSES = 7


@pytest.fixture(scope="module")
def reference():
    with np.load(REFERENCE / "accuracy.npz") as arrays:
        return dict(arrays)


def test_batches_with_padding_add_up_to_scikit_learn_s_matrix(reference):
    labels, predictions = reference["labels"], reference["predictions"]
    count = jax.jit(confusion_matrix, static_argnames="num_classes")
    total = np.zeros((CLASSES, CLASSES), np.int64)
    for start in range(0, len(labels), 128):  # the last of three batches has 44 rows
        batch = slice(start, start + 128)
        filler = 128 - len(labels[batch])
        confusion = count(
            np.pad(labels[batch], (0, filler), constant_values=4),
            np.pad(predictions[batch], (0, filler), constant_values=4),
            np.arange(128) < 128 - filler,
            num_classes=CLASSES,
        )
        assert confusion.dtype == jnp.int32
        total += np.asarray(confusion)
    np.testing.assert_array_equal(total, reference["confusion"])


def test_accuracies(reference):
    confusion = reference["confusion"]
    # The same quotients of the same whole numbers: only the last bit of a double may differ.
    assert top1(confusion) == pytest.approx(float(reference["top1"]), rel=1e-15)
    np.testing.assert_allclose(per_class_accuracy(confusion), reference["recall"], rtol=1e-15)
    assert np.isnan(per_class_accuracy(confusion)).tolist() == [c == 4 for c in range(CLASSES)]


def test_counts_are_exact_where_products_are_rounded():
    """10,001 needs 14 bits; bfloat16 has 8."""
    ones = np.ones(10_001, np.int32)
    with jax.default_matmul_precision("bfloat16"):
        confusion = confusion_matrix(ones, ones, ones.astype(bool), num_classes=3)
    assert confusion.tolist() == [[0, 0, 0], [0, 10_001, 0], [0, 0, 0]]


def test_labels_outside_the_classes_are_not_counted():
    confusion = confusion_matrix(
        np.array([-1, 3, 0, 1]), np.array([0, 0, 3, 1]), np.ones(4, bool), num_classes=3
    )
    assert confusion.tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_what_has_no_answer_is_refused():
    with pytest.raises(ValueError, match="counts no example"):
        top1(np.zeros((3, 3), np.int32))


def test_one_class_for_everything():
    counts = np.zeros((4, 4), int)
    counts[:, 2] = [5, 0, 7, 1]
    assert sole_prediction(counts) == 2
    assert sole_prediction(counts + np.eye(4, dtype=int)) is None
    assert sole_prediction(np.diag([0, 0, 3, 0])) is None  # all are of that class
    assert sole_prediction(np.zeros((3, 3), int)) is None

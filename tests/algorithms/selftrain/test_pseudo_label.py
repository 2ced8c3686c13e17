"""Which images are accepted, against a loop over images and heads."""

import numpy as np
import pytest

from dreamda_jax.algorithms.selftrain.pseudo_label import NO_LABEL, agreement, judge


def some_verdicts(seed: int, rows: int, heads: int) -> tuple[np.ndarray, np.ndarray]:
    """Three classes, so that heads agree now and then; variances around 0.01."""
    random = np.random.default_rng(seed)
    classes = random.integers(0, 3, (rows, heads)).astype(np.int32)
    classes[::2] = classes[::2, :1]
    return classes, random.uniform(0, 0.02, (rows, heads)).astype(np.float32)


def judged_one_by_one(classes, variances, threshold):
    for row_classes, row_variances in zip(classes.tolist(), variances.tolist(), strict=True):
        alike = all(one == row_classes[0] for one in row_classes)
        certain = all(variance < threshold for variance in row_variances)
        accepted = alike and certain
        yield max(row_variances), accepted, row_classes[0] if accepted else -1


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("threshold", [0.008, 0.015])
def test_against_a_loop(heads, threshold):
    classes, variances = some_verdicts(heads, 800, heads)
    found = judge(classes, variances, threshold=threshold)
    uncertainty, accepted, labels = zip(
        *judged_one_by_one(classes, variances, threshold), strict=True
    )
    np.testing.assert_array_equal(found.uncertainty, np.float32(uncertainty))
    np.testing.assert_array_equal(found.accepted, accepted)
    np.testing.assert_array_equal(found.pseudo_label, labels)
    assert found.pseudo_label.dtype == np.int32
    assert 0 < found.accepted.sum() < 800  # both verdicts occur


def test_a_variance_at_the_threshold_is_too_large():
    classes = np.zeros((3, 4), np.int32)
    variances = np.full((3, 4), 0.125, np.float32)
    variances[1, 2] = np.nextafter(np.float32(0.25), np.float32(0))
    variances[2, 2] = 0.25
    found = judge(classes, variances, threshold=0.25)
    np.testing.assert_array_equal(found.accepted, [True, True, False])
    np.testing.assert_array_equal(found.pseudo_label, [0, 0, NO_LABEL])


def test_threshold_zero_accepts_none_even_of_certain_images():
    classes = np.ones((5, 4), np.int32)
    found = judge(classes, np.zeros((5, 4), np.float32), threshold=0.0)
    assert not found.accepted.any()
    np.testing.assert_array_equal(found.pseudo_label, NO_LABEL)


def test_an_infinite_threshold_leaves_agreement_alone_to_decide():
    classes, variances = some_verdicts(9, 100, 4)
    found = judge(classes, variances, threshold=np.inf)
    np.testing.assert_array_equal(found.accepted, agreement(classes))
    assert not found.accepted.all()
    alike = np.repeat(classes[:, :1], 4, axis=1)
    found = judge(alike, variances, threshold=np.inf)
    assert found.accepted.all()
    np.testing.assert_array_equal(found.pseudo_label, alike[:, 0])


@pytest.mark.parametrize("dissenter", range(4))
def test_one_dissenting_head_is_enough(dissenter):
    classes = np.full((1, 4), 2, np.int32)
    classes[0, dissenter] = 1
    assert not agreement(classes).any()
    assert not judge(classes, np.zeros((1, 4), np.float32), threshold=1.0).accepted.any()


def test_a_single_head_agrees_with_itself():
    classes, variances = some_verdicts(4, 50, 1)
    assert agreement(classes).all()
    found = judge(classes, variances, threshold=0.01)
    np.testing.assert_array_equal(found.accepted, variances[:, 0] < np.float32(0.01))


def test_an_image_without_a_variance_is_rejected():
    variances = np.array([[0.0, np.nan], [0.0, 0.0]], np.float32)
    found = judge(np.zeros((2, 2), np.int32), variances, threshold=1.0)
    np.testing.assert_array_equal(found.accepted, [False, True])


def test_no_images():
    found = judge(np.zeros((0, 4), np.int32), np.zeros((0, 4), np.float32), threshold=0.01)
    assert [len(column) for column in found] == [0, 0, 0]

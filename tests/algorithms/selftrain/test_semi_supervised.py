"""Stage 3, SoftMatch and FixMatch against numpy: values, gradients, statistics, ablations."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamda_jax.algorithms.selftrain.heads import MULTI_HEAD, SINGLE_HEAD
from dreamda_jax.algorithms.selftrain.options import Consistency
from dreamda_jax.algorithms.selftrain.semi_supervised import (
    Batch,
    HeadTraining,
    SoftLabels,
    semi_supervised_loss,
)
from dreamda_jax.algorithms.selftrain.softmatch import Confidence, initial_confidence
from dreamda_jax.runtime import devices
from tests.support import linear_network as linear
from tests.support.linear_network import CLASSES, LINEAR, STATS

ROWS = 4
KEY = jax.random.key(0)
PARAMS = linear.some_params(3, dict(MULTI_HEAD))
# As after some steps, and such that weights of 0 to 1 occur.
EARLIER = Confidence(
    jnp.float32(0.8), jnp.float32(0.05), jnp.asarray([0.2, 0.3, 0.1, 0.4], jnp.float32)
)
# Float32 against float64; SoftMatch's weights amplify an error of a probability by up to
# n²|p − μ|/σ² (see test_softmatch), here below 10.
CLOSE: dict[str, Any] = {"rtol": 5e-5, "atol": 2e-6}


def some_batch(ratio: int | None = 1) -> Batch:
    """`ratio` images without a label for each one with; None: no such images."""
    unlabelled = None if ratio is None else linear.some_images(5, ratio * ROWS)
    return Batch(linear.some_images(1, ROWS), linear.some_targets(2, ROWS), unlabelled)


def run(consistency, batch, *, network=LINEAR, params=PARAMS, confidence=EARLIER, **options):
    """(loss, batch_stats, confidence, metrics, gradients)."""
    loss = semi_supervised_loss(network, consistency, **options)
    step = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (value, aux), gradients = step(params, STATS, confidence, KEY, batch)
    return value, *aux, gradients


def logits_of(images, params=PARAMS) -> dict[str, np.ndarray]:
    classifier = linear.to_numpy(params)["classifier"]
    views = linear.flat_views(images)
    return {
        name: view @ classifier["backbone"] @ classifier["head"] for name, view in views.items()
    }


def numpy_weights(probabilities, consistency, confidence=EARLIER):
    """SoftMatch's weight and statistics, or FixMatch's, of one batch in float64."""
    if consistency.weighting == "fixed":
        return (probabilities.max(1) >= consistency.threshold).astype(np.float64), confidence
    old = Confidence(*(np.asarray(value, np.float64) for value in confidence))
    decay, marginal = consistency.decay, old.marginal
    if consistency.alignment:
        predicted = probabilities.mean(0)
        first = marginal.sum() == 0
        marginal = predicted if first else decay * marginal + (1 - decay) * predicted
        ratio = probabilities / (marginal + 1e-6)
        probabilities = ratio / ratio.sum(1, keepdims=True)
    largest = probabilities.max(1)
    mean = decay * old.mean + (1 - decay) * largest.mean()
    variance = decay * old.variance + (1 - decay) * np.var(largest, ddof=1)
    below = np.minimum(largest - mean, 0)
    weights = np.exp(-(below**2) * consistency.n_sigma**2 / (2 * variance))
    return weights, Confidence(mean, variance, marginal)


def numpy_consistency(images, consistency, params=PARAMS):
    """The weights, the statistics, and the mean of λ(p_w) · H(p̂_w, p_s)."""
    logits = logits_of(images, params)
    probabilities = linear.softmax(logits["weak"])
    weights, confidence = numpy_weights(probabilities, consistency)
    total = 0.0
    for row, weight in enumerate(weights):
        log_strong = np.log(linear.softmax(logits["strong"][row]))
        if consistency.hard:
            total -= weight * log_strong[probabilities[row].argmax()]
        else:
            target = linear.softmax(logits["weak"][row] / consistency.temperature)
            total -= weight * (target * log_strong).sum()
    return weights, confidence, total / len(weights)


VARIANTS = {
    "softmatch": Consistency(decay=0.6),
    "published": Consistency(),
    "unaligned": Consistency(decay=0.6, n_sigma=3.0, alignment=False),
    "soft target": Consistency(decay=0.6, hard=False, temperature=0.7),
    "weighted": Consistency(decay=0.6, loss_weight=2.5),
    "fixmatch": Consistency(weighting="fixed", threshold=0.8),
}


@pytest.mark.parametrize("ratio", [1, 3])
@pytest.mark.parametrize("name", list(VARIANTS))
def test_value_against_numpy(name, ratio):
    consistency, batch = VARIANTS[name], some_batch(ratio)
    value, batch_stats, confidence, metrics, _ = run(consistency, batch)
    labelled = linear.mean_cross_entropy(logits_of(batch.images)["weak"], batch.targets)
    weights, expected, unlabelled = numpy_consistency(batch.unlabelled, consistency)
    np.testing.assert_allclose(value, labelled + consistency.loss_weight * unlabelled, **CLOSE)
    np.testing.assert_allclose(metrics["labelled_loss"], labelled, **CLOSE)
    np.testing.assert_allclose(metrics["consistency_loss"], unlabelled, **CLOSE)
    np.testing.assert_allclose(metrics["weight"], weights.mean(), **CLOSE)
    hits = linear.hits(logits_of(batch.images)["weak"], batch.targets)
    assert metrics["accuracy"] == hits
    for quantity in Confidence._fields:
        np.testing.assert_allclose(
            getattr(confidence, quantity), getattr(expected, quantity), **CLOSE
        )
    assert int(batch_stats["seen"]) == ROWS * (1 + 2 * ratio)
    assert 0 < weights.mean() < 1  # the weight matters
    assert unlabelled > 0.01


def test_gradient_against_numpy():
    """Of the classifier: each image's part is weight · Xᵀ(p − target) of the strong view alone."""
    consistency, batch = VARIANTS["weighted"], some_batch(3)
    *_, gradients = run(consistency, batch)
    classifier = linear.to_numpy(PARAMS)["classifier"]
    labelled, unlabelled = linear.flat_views(batch.images), linear.flat_views(batch.unlabelled)
    weights, _, _ = numpy_consistency(batch.unlabelled, consistency)
    logits = logits_of(batch.unlabelled)
    chosen = np.eye(CLASSES)[logits["weak"].argmax(1)]
    errors = [
        (labelled["weak"], linear.softmax(logits_of(batch.images)["weak"]) - batch.targets, 1.0),
        (
            unlabelled["strong"],
            weights[:, None] * (linear.softmax(logits["strong"]) - chosen),
            consistency.loss_weight,
        ),
    ]
    head = np.zeros_like(classifier["head"])
    backbone = np.zeros_like(classifier["backbone"])
    for view, error, weight in errors:
        error = weight * error / len(view)
        head += (view @ classifier["backbone"]).T @ error
        backbone += view.T @ error @ classifier["head"].T
    np.testing.assert_allclose(gradients["classifier"]["head"], head, **CLOSE)
    np.testing.assert_allclose(gradients["classifier"]["backbone"], backbone, **CLOSE)
    for leaf in jax.tree.leaves(gradients["heads"]):
        np.testing.assert_array_equal(leaf, 0)


@pytest.mark.parametrize("name", list(VARIANTS))
def test_no_gradient_flows_through_the_target(name):
    """The weak view lies in the left column of pixels, the strong one in the right."""
    left = np.zeros(linear.SHAPE, np.float32)
    left[:, 0] = 1
    network = LINEAR._replace(
        weak=lambda _, images: images / 255.0 * left,
        strong=lambda _, images: images / 255.0 * (1 - left),
    )
    batch = some_batch(3)
    # Labelled images that are black, so that only the consistency gives a gradient.
    batch = batch._replace(images=np.zeros_like(batch.images))
    *_, metrics, gradients = run(VARIANTS[name], batch, network=network)
    backbone = np.asarray(gradients["classifier"]["backbone"]).reshape(*linear.SHAPE, -1)
    assert metrics["weight"] > 0
    np.testing.assert_array_equal(backbone[:, 0], 0)
    assert np.all(np.abs(backbone[:, 1]).max(-1) > 0)


def test_the_statistics_are_those_of_all_images_on_all_devices():
    """Two devices; the batch's two halves have other means than the whole."""
    batch, consistency = some_batch(3), VARIANTS["softmatch"]
    loss = semi_supervised_loss(LINEAR, consistency)
    mesh = devices.training_mesh()
    spread = devices.global_rows(mesh, batch)
    assert len(spread.unlabelled.sharding.device_set) == 2
    compiled = jax.jit(loss).lower(PARAMS, STATS, EARLIER, KEY, spread).compile()
    shared, (_, confidence, metrics) = compiled(PARAMS, STATS, EARLIER, KEY, spread)
    alone, _, expected, expected_metrics, _ = run(consistency, batch)
    # Partial sums of two devices.
    np.testing.assert_allclose(shared, alone, rtol=1e-5)
    for found, known in zip(confidence, expected, strict=True):
        np.testing.assert_allclose(found, known, rtol=1e-5)
    for name, value in expected_metrics.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-5)
    _, of_half, _ = numpy_consistency(batch.unlabelled[: len(batch.unlabelled) // 2], consistency)
    assert abs(of_half.mean - expected.mean) > 1e-3
    # No image leaves its device, only sums do.
    assert not re.findall(r"\b(all-to-all|all-gather|collective-permute)", compiled.as_text())


def test_the_first_batch_starts_the_marginal():
    batch = some_batch(3)
    _, _, confidence, _, _ = run(Consistency(), batch, confidence=initial_confidence(CLASSES))
    predicted = linear.softmax(logits_of(batch.unlabelled)["weak"]).mean(0)
    np.testing.assert_allclose(confidence.marginal, predicted, **CLOSE)


@pytest.mark.parametrize("views", [("weak",), ("strong",), ("weak", "strong"), ("strong", "weak")])
@pytest.mark.parametrize("consistency", [None, VARIANTS["softmatch"]])
def test_labelled_views(views, consistency):
    """Of several the mean."""
    batch = some_batch(None if consistency is None else 1)
    value, batch_stats, confidence, metrics, _ = run(consistency, batch, labelled_views=views)
    logits = logits_of(batch.images)
    labelled = np.mean([linear.mean_cross_entropy(logits[v], batch.targets) for v in views])
    np.testing.assert_allclose(metrics["labelled_loss"], labelled, **CLOSE)
    np.testing.assert_allclose(
        metrics["accuracy"], np.mean([linear.hits(logits[v], batch.targets) for v in views])
    )
    if consistency is None:
        np.testing.assert_allclose(value, labelled, **CLOSE)
        assert set(metrics) == {"labelled_loss", "accuracy"}
        assert int(batch_stats["seen"]) == ROWS * len(views)
        for found, known in zip(confidence, EARLIER, strict=True):
            np.testing.assert_array_equal(found, known)
    else:
        expected = numpy_consistency(batch.unlabelled, consistency)[2]
        np.testing.assert_allclose(value, labelled + expected, **CLOSE)


def test_mixing_is_of_labelled_images_and_their_targets_only():
    batch, consistency = some_batch(3), VARIANTS["softmatch"]
    network = LINEAR._replace(mix=linear.mixed)
    value, *_ = run(consistency, batch, network=network)
    # The network is linear, so mixed images have mixed logits.
    logits = logits_of(batch.images)["weak"]
    logits = 0.75 * logits + 0.25 * logits[::-1]
    targets = 0.75 * batch.targets + 0.25 * batch.targets[::-1]
    expected = linear.mean_cross_entropy(logits, targets)
    expected += numpy_consistency(batch.unlabelled, consistency)[2]
    np.testing.assert_allclose(value, expected, **CLOSE)


@pytest.mark.parametrize("layout", [MULTI_HEAD, SINGLE_HEAD])
@pytest.mark.parametrize("ratio", [None, 3])
@pytest.mark.parametrize("views", [("weak",), ("strong", "weak")])
def test_head_training_adds_the_loss_of_stage_1_on_labelled_images(layout, ratio, views):
    params = linear.some_params(3, dict(layout))
    consistency = None if ratio is None else VARIANTS["softmatch"]
    batch, options = some_batch(ratio), {"params": params, "labelled_views": views}
    without, _, _, _, gradients = run(consistency, batch, **options)
    heads = HeadTraining(dropout_rate=0.0, orthogonality_weight=0.25)
    value, batch_stats, _, metrics, with_heads = run(consistency, batch, heads=heads, **options)

    exact = linear.to_numpy(params)
    features = {
        name: view @ exact["classifier"]["backbone"]
        for name, view in linear.flat_views(batch.images).items()
    }
    targets = dict.fromkeys(features, np.asarray(batch.targets, np.float64))
    expected, right = linear.head_loss(exact["heads"], features, targets, 0.25)
    np.testing.assert_allclose(value, without + expected, **CLOSE)
    np.testing.assert_allclose(metrics["head_accuracy"], np.mean(right), rtol=1e-6)
    assert int(batch_stats["seen"]) == ROWS * (2 + 2 * (ratio or 0))
    # The main head learns what it did; the auxiliary ones start to, and the backbone hears them.
    np.testing.assert_allclose(
        with_heads["classifier"]["head"], gradients["classifier"]["head"], **CLOSE
    )
    for leaf in jax.tree.leaves(with_heads["heads"]):
        assert np.abs(leaf).max() > 0.01
    difference = with_heads["classifier"]["backbone"] - gradients["classifier"]["backbone"]
    assert np.abs(difference).max() > 0.01


@pytest.mark.parametrize("views", [("weak",), ("weak", "strong")])
@pytest.mark.parametrize("soft", [SoftLabels(), SoftLabels(0.5, 0.0), SoftLabels(0.0, 0.5)])
def test_soft_labels_add_the_terms_of_arazo(views, soft):
    batch = some_batch(None)
    value, *_ = run(None, batch, labelled_views=views, soft_labels=soft)
    logits = logits_of(batch.images)
    expected = 0.0
    for view in views:
        predicted = linear.softmax(logits[view])
        uniform = 1 / CLASSES
        balance = sum(uniform * np.log(uniform / share) for share in predicted.mean(0))
        entropy = np.mean([-sum(p * np.log(p) for p in row) for row in predicted])
        expected += linear.mean_cross_entropy(logits[view], batch.targets)
        expected += soft.balance_weight * balance + soft.entropy_weight * entropy
    np.testing.assert_allclose(value, expected / len(views), **CLOSE)


def test_weights_of_arazo_are_the_published_ones():
    assert SoftLabels() == SoftLabels(balance_weight=0.8, entropy_weight=0.4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"threshold": 0.0},
        {"threshold": 1.5},
        {"decay": 1.0},
        {"decay": -0.1},
        {"n_sigma": 0.0},
        {"temperature": 0.0},
        {"loss_weight": -1.0},
    ],
)
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must"):
        Consistency(**wrong)

"""SoftMatch's and FixMatch's weights against USB's published code, and against numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dreamda_jax.algorithms.selftrain.losses import consistency, cross_entropy, pseudo_target
from dreamda_jax.algorithms.selftrain.softmatch import (
    Confidence,
    align_uniform,
    fixed_weights,
    gaussian_weight,
    initial_confidence,
    softmatch_weights,
)
from dreamda_jax.runtime.state import new_state, update_state
from tests.support.paths import REFERENCE

ARRAYS = dict(np.load(REFERENCE / "usb.npz"))
STEPS, CLASSES = len(ARRAYS["weak"]), ARRAYS["weak"].shape[-1]

# Float32 with sums in another order. Weights below 1 amplify the error of max p - μ by up to
# n²|max p - μ| / σ², 34 in these arrays.
CLOSE = {"rtol": 1e-6, "atol": 1e-6}
WEIGHTS_CLOSE = {"rtol": 1e-5, "atol": 1e-6}

# As in make_usb.py. "softmatch" is as published; the others spread the weights.
SEQUENCES = {
    "softmatch": ({"decay": 0.999, "n_sigma": 2.0}, True),
    "quick": ({"decay": 0.6, "n_sigma": 2.0}, False),
    "sharp": ({"decay": 0.6, "n_sigma": 3.0}, True),
}


def random_probabilities(seed: int, rows: int = 16, classes: int = 7) -> np.ndarray:
    random = np.random.default_rng(seed)
    logits = random.uniform(0.2, 4, (rows, 1)) * random.standard_normal((rows, classes))
    return np.asarray(jax.nn.softmax(logits), np.float32)


@pytest.mark.parametrize("name", list(SEQUENCES))
def test_weights_and_statistics_are_those_of_usb(name):
    options, _ = SEQUENCES[name]
    confidence = initial_confidence(CLASSES)
    for step in range(STEPS):
        probabilities = jax.nn.softmax(ARRAYS["weak"][step])
        weights, confidence = softmatch_weights(confidence, probabilities, **options)
        for quantity in Confidence._fields:
            expected = ARRAYS[f"{name}_{quantity}"][step]
            np.testing.assert_allclose(
                getattr(confidence, quantity), expected, **CLOSE, err_msg=f"{quantity} {step}"
            )
        aligned = align_uniform(probabilities, confidence.marginal)
        np.testing.assert_allclose(aligned, ARRAYS[f"{name}_aligned"][step], **CLOSE)
        np.testing.assert_allclose(weights, ARRAYS[f"{name}_weights"][step], **WEIGHTS_CLOSE)
    # The reference tells right from wrong only where weights differ.
    assert name == "softmatch" or ARRAYS[f"{name}_weights"].min() < 0.2


@pytest.mark.parametrize("name", [*SEQUENCES, "fixmatch"])
def test_losses_and_gradients_are_those_of_usb(name):
    """The whole step: USB's loss is mean(supervised) + mean(unsupervised), λ_u = 1."""
    options, hard = SEQUENCES.get(name, ({}, True))

    def loss(views, labels, confidence):
        labelled, weak, strong = views
        probabilities = jax.nn.softmax(weak)
        if name == "fixmatch":
            weights, updated = fixed_weights(probabilities, threshold=0.95), confidence
        else:
            weights, updated = softmatch_weights(confidence, probabilities, **options)
        targets = pseudo_target(weak, hard=hard, temperature=0.5)
        supervised = jnp.mean(cross_entropy(labelled, jax.nn.one_hot(labels, CLASSES)))
        unsupervised = jnp.mean(consistency(strong, targets, weights))
        return supervised + unsupervised, (supervised, unsupervised, weights, targets, updated)

    step_of = jax.jit(jax.value_and_grad(loss, has_aux=True))
    confidence = initial_confidence(CLASSES)
    for step in range(STEPS):
        views = tuple(ARRAYS[view][step] for view in ("labelled", "weak", "strong"))
        (_, found), gradients = step_of(views, ARRAYS["labels"][step], confidence)
        supervised, unsupervised, weights, targets, confidence = found
        expected = {
            quantity: ARRAYS[f"{name}_{quantity}"][step]
            for quantity in ("weights", "targets", "supervised_loss", "unsupervised_loss")
        }
        np.testing.assert_allclose(supervised, expected["supervised_loss"], **CLOSE)
        np.testing.assert_allclose(unsupervised, expected["unsupervised_loss"], **WEIGHTS_CLOSE)
        np.testing.assert_allclose(weights, expected["weights"], **WEIGHTS_CLOSE)
        if hard:
            expected["targets"] = np.eye(CLASSES)[expected["targets"]]
        np.testing.assert_allclose(targets, expected["targets"], **CLOSE)
        np.testing.assert_array_equal(gradients[1], 0)
        np.testing.assert_array_equal(ARRAYS[f"{name}_weak_gradient"][step], 0)
        np.testing.assert_allclose(
            gradients[2], ARRAYS[f"{name}_strong_gradient"][step], **WEIGHTS_CLOSE
        )


def test_average_of_weights_is_that_of_usb():
    """The optimizer steps first; statistics of BatchNorm are the live ones, not averaged."""
    optimizer = optax.sgd(0.5)
    variables = {"params": jnp.asarray(ARRAYS["ema_params"][0]), "batch_stats": jnp.zeros(4)}
    state = new_state(variables, optimizer, with_ema=True)
    for step in range(STEPS):
        statistics = jnp.asarray(ARRAYS["ema_live"][step])
        gradients = jnp.asarray(ARRAYS["ema_gradients"][step])
        state = update_state(state, gradients, statistics, optimizer, ema_decay=0.9)
        np.testing.assert_allclose(state.params, ARRAYS["ema_params"][step + 1], **CLOSE)
        np.testing.assert_allclose(state.variables["params"], ARRAYS["ema_average"][step], **CLOSE)
        np.testing.assert_array_equal(
            state.variables["batch_stats"], ARRAYS["ema_statistics"][step]
        )


def numpy_softmatch(batches, *, decay, n_sigma, alignment):
    """Float64, written from the paper; USB's 1e-6 in the alignment is left out."""
    classes = batches[0].shape[1]
    mean, variance, marginal = 1 / classes, 1.0, None
    for batch in np.asarray(batches, np.float64):
        if alignment:
            average = batch.mean(0)
            marginal = average if marginal is None else decay * marginal + (1 - decay) * average
            batch = batch / (classes * marginal)
            batch = batch / batch.sum(1, keepdims=True)
        largest = batch.max(1)
        spread = ((largest - largest.mean()) ** 2).sum() / (len(largest) - 1)
        mean = decay * mean + (1 - decay) * largest.mean()
        variance = decay * variance + (1 - decay) * spread
        exponent = (largest - mean) ** 2 / (2 * variance / n_sigma**2)
        yield np.where(largest > mean, 1.0, np.exp(-exponent)), mean, variance


@pytest.mark.parametrize("alignment", [True, False])
def test_weights_against_numpy(alignment):
    batches = [random_probabilities(seed) for seed in range(8)]
    options = {"decay": 0.7, "n_sigma": 2.5, "alignment": alignment}
    confidence = initial_confidence(batches[0].shape[1])
    expected_steps = numpy_softmatch(batches, **options)
    for batch, (expected, mean, variance) in zip(batches, expected_steps, strict=True):
        weights, confidence = softmatch_weights(confidence, batch, **options)
        # The 1e-6 that is added to a marginal of at least 0.05 changes its ratio by 2e-5.
        tolerance = 5e-5 if alignment else 1e-6
        np.testing.assert_allclose(confidence.mean, mean, rtol=tolerance)
        np.testing.assert_allclose(confidence.variance, variance, rtol=tolerance)
        np.testing.assert_allclose(weights, expected, rtol=10 * tolerance, atol=tolerance)
    assert weights.min() < 0.5
    assert weights.max() == 1


def test_equal_probabilities_weigh_one():
    """A network that knows nothing: the largest probability is the initial mean."""
    uniform = jnp.full((6, 5), 0.2)
    weights, confidence = softmatch_weights(initial_confidence(5), uniform)
    np.testing.assert_allclose(weights, 1, atol=1e-6)
    np.testing.assert_allclose(confidence.mean, 0.2, rtol=1e-6)
    np.testing.assert_allclose(confidence.variance, 0.999, rtol=1e-6)
    np.testing.assert_allclose(confidence.marginal, 0.2, rtol=1e-6)


def test_weight_is_exactly_one_above_the_mean():
    confidence = Confidence(jnp.float32(0.5), jnp.float32(0.01), jnp.full(4, 0.25))
    weights = gaussian_weight(confidence, jnp.array([0.5, 0.500001, 0.9, 1.0]))
    np.testing.assert_array_equal(weights, 1)
    # One σ below the mean with n = 2: exp(-n²/2).
    below = gaussian_weight(confidence, jnp.array([0.4]), n_sigma=2.0)
    np.testing.assert_allclose(below, np.exp(-2.0), rtol=1e-6)


def test_without_variance_only_images_below_the_mean_count_nothing():
    confidence = Confidence(jnp.float32(0.5), jnp.float32(0.0), jnp.full(4, 0.25))
    weights = gaussian_weight(confidence, jnp.array([0.4, 0.5, 0.6]))
    np.testing.assert_array_equal(weights, [0, 1, 1])


def test_alignment_makes_the_mean_prediction_uniform():
    probabilities = random_probabilities(3)
    aligned = align_uniform(probabilities, jnp.mean(probabilities, axis=0))
    ratio = probabilities.astype(np.float64) / probabilities.mean(0, dtype=np.float64)
    # 1e-6 is added to marginals of at least 0.05.
    np.testing.assert_allclose(aligned, ratio / ratio.sum(1, keepdims=True), rtol=5e-5)
    np.testing.assert_allclose(jnp.sum(aligned, -1), 1, rtol=1e-6)
    unchanged = align_uniform(probabilities, jnp.full(7, 1 / 7))
    np.testing.assert_allclose(unchanged, probabilities, rtol=1e-6)


def test_alignment_survives_a_class_never_predicted():
    probabilities = jnp.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]])
    aligned = align_uniform(probabilities, jnp.array([0.75, 0.25, 0.0]))
    np.testing.assert_allclose(aligned, [[1, 0, 0], [0.25, 0.75, 0]], atol=1e-5)


def test_statistics_are_of_the_global_batch():
    """A batch spread over two devices has the weights it has on one."""
    probabilities = random_probabilities(4)
    mesh = jax.sharding.Mesh(jax.devices()[:2], "data")
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    spread = jax.device_put(probabilities, rows)
    assert len(spread.sharding.device_set) == 2
    start = initial_confidence(7)
    weigh = jax.jit(lambda values: softmatch_weights(start, values, decay=0.1))
    expected, confidence = softmatch_weights(start, probabilities, decay=0.1)
    weights, found = weigh(spread)
    # Two partial sums instead of one.
    np.testing.assert_allclose(weights, expected, **WEIGHTS_CLOSE)
    np.testing.assert_allclose(found.mean, confidence.mean, **CLOSE)
    np.testing.assert_allclose(found.variance, confidence.variance, **CLOSE)


def test_fixed_weights_against_numpy():
    probabilities = random_probabilities(5)
    threshold = float(np.sort(probabilities.max(1))[8])  # one that is reached exactly
    weights = fixed_weights(probabilities, threshold=threshold)
    assert weights.dtype == jnp.float32
    np.testing.assert_array_equal(weights, probabilities.max(1) >= np.float32(threshold))
    assert weights.sum() == 8
    # 0.95 itself passes: in float32 on both sides, as in PyTorch.
    edge = jnp.array([[0.95, 0.05], [np.nextafter(np.float32(0.95), np.float32(0)), 0.05]])
    np.testing.assert_array_equal(fixed_weights(edge, threshold=0.95), [1, 0])


@pytest.mark.parametrize("weigh", ["softmatch", "fixed"])
def test_no_gradient_flows_through_the_weights(weigh):
    def total(logits):
        probabilities = jax.nn.softmax(logits)
        if weigh == "fixed":
            return jnp.sum(fixed_weights(probabilities, threshold=0.5))
        confidence = Confidence(jnp.float32(0.6), jnp.float32(0.02), jnp.full(7, 1 / 7))
        weights, updated = softmatch_weights(confidence, probabilities)
        assert weights.shape == (16,)
        return jnp.sum(weights) + updated.mean + updated.variance + jnp.sum(updated.marginal)

    logits = jnp.log(random_probabilities(6))
    np.testing.assert_array_equal(jax.grad(total)(logits), 0)

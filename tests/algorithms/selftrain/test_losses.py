"""Losses of self-training against independent numpy computations in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamda_jax.algorithms.selftrain.losses import (
    class_balance_penalty,
    consistency,
    cross_entropy,
    entropy,
    orthogonality,
    pseudo_target,
)
from dreamda_jax.algorithms.selftrain.softmatch import Confidence, fixed_weights, softmatch_weights

# Float32 sums of at most 50 terms against float64.
CLOSE = {"rtol": 2e-6, "atol": 1e-6}


def draw(seed: int, *shape: int, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, shape).astype(np.float32)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(np.asarray(logits, np.float64))
    return powers / powers.sum(-1, keepdims=True)


def test_cross_entropy_with_hard_and_soft_targets():
    logits = draw(0, 9, 6, scale=3.0)
    labels = np.arange(9) % 6
    hard = cross_entropy(logits, jax.nn.one_hot(labels, 6))
    np.testing.assert_allclose(hard, -np.log(softmax(logits)[np.arange(9), labels]), **CLOSE)
    soft = softmax(draw(1, 9, 6))
    found = cross_entropy(logits, jnp.asarray(soft, jnp.float32))
    np.testing.assert_allclose(found, -(soft * np.log(softmax(logits))).sum(-1), **CLOSE)


def test_cross_entropy_of_large_logits_is_finite():
    logits = jnp.array([[1e4, 0.0, -1e4]])
    np.testing.assert_allclose(cross_entropy(logits, jnp.array([[0.0, 0.0, 1.0]])), [2e4])
    np.testing.assert_allclose(cross_entropy(logits, jnp.array([[1.0, 0.0, 0.0]])), [0.0])


def test_orthogonality_is_the_sum_over_all_entries():
    first, second = draw(2, 12, 5), draw(3, 12, 5)
    expected = 0.0
    for row in range(5):
        for column in range(5):
            expected += abs(float(np.dot(first[:, row].astype(float), second[:, column])))
    found = orthogonality(first, second)
    assert found.shape == ()
    np.testing.assert_allclose(found, expected, rtol=2e-6)
    # Kernels on disjoint features: nothing to penalise.
    mask = (np.arange(12) < 6)[:, None]
    assert orthogonality(first * mask, second * ~mask) == 0


def test_orthogonality_has_gradients_for_both_heads():
    first, second = draw(2, 12, 5), draw(3, 12, 5)
    gradients = jax.grad(orthogonality, argnums=(0, 1))(first, second)
    signs = np.sign(first.astype(float).T @ second)
    np.testing.assert_allclose(gradients[0], second @ signs.T, **CLOSE)
    np.testing.assert_allclose(gradients[1], first @ signs, **CLOSE)


def test_hard_target_is_the_largest_whatever_the_temperature():
    logits = draw(4, 11, 6)
    for temperature in (0.5, 2.0):
        target = pseudo_target(logits, hard=True, temperature=temperature)
        assert target.dtype == jnp.float32
        np.testing.assert_array_equal(target, np.eye(6)[logits.argmax(-1)])
    # A tie goes to the first, as argmax of PyTorch and numpy.
    np.testing.assert_array_equal(
        pseudo_target(jnp.zeros((1, 3)), hard=True, temperature=1.0), [[1, 0, 0]]
    )


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_soft_target_is_sharpened_by_the_temperature(temperature):
    logits = draw(5, 11, 6)
    target = pseudo_target(logits, hard=False, temperature=temperature)
    np.testing.assert_allclose(target, softmax(logits.astype(float) / temperature), **CLOSE)


def test_consistency_against_numpy():
    strong, targets = draw(6, 8, 5), softmax(draw(7, 8, 5)).astype(np.float32)
    weights = np.linspace(0, 1, 8, dtype=np.float32)
    found = consistency(strong, targets, weights)
    assert found.shape == (8,)
    expected = -weights * (targets * np.log(softmax(strong))).sum(-1)
    np.testing.assert_allclose(found, expected, **CLOSE)
    assert found[0] == 0


@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize("weigh", ["softmatch", "fixed"])
def test_only_the_strong_view_gets_a_gradient(hard, weigh):
    strong, weak = draw(8, 10, 5), draw(9, 10, 5, scale=2.0)
    confidence = Confidence(jnp.float32(0.7), jnp.float32(0.02), jnp.full(5, 0.2))

    def weights_of(weak):
        probabilities = jax.nn.softmax(weak)
        if weigh == "fixed":
            return fixed_weights(probabilities, threshold=0.7)
        return softmatch_weights(confidence, probabilities)[0]

    def loss(strong, weak):
        targets = pseudo_target(weak, hard=hard, temperature=0.5)
        return jnp.sum(consistency(strong, targets, weights_of(weak)))

    of_strong, of_weak = jax.grad(loss, argnums=(0, 1))(strong, weak)
    np.testing.assert_array_equal(of_weak, 0)
    targets = np.asarray(pseudo_target(weak, hard=hard, temperature=0.5))
    expected = np.asarray(weights_of(weak))[:, None] * (softmax(strong) - targets)
    np.testing.assert_allclose(of_strong, expected, **CLOSE)
    assert np.abs(expected).max() > 0.1


def test_consistency_itself_stops_gradients_of_targets_and_weights():
    """Also where the caller has not."""
    strong, targets = draw(10, 4, 3), softmax(draw(11, 4, 3)).astype(np.float32)
    gradients = jax.grad(lambda t, w: jnp.sum(consistency(strong, t, w)), argnums=(0, 1))(
        targets, jnp.ones(4)
    )
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, 0)
    target_gradient = jax.grad(
        lambda logits: jnp.sum(pseudo_target(logits, hard=False, temperature=0.5)[:, 0])
    )(draw(12, 4, 3))
    np.testing.assert_array_equal(target_gradient, 0)


def test_class_balance_penalty_is_the_divergence_from_uniform():
    probabilities = softmax(draw(13, 20, 6, scale=2.0))
    expected = 0.0
    for mean in probabilities.mean(0):
        expected += (1 / 6) * np.log((1 / 6) / mean)
    found = class_balance_penalty(jnp.asarray(probabilities, jnp.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert found > 0


def test_class_balance_penalty_looks_at_the_batch_not_the_image():
    """Sure and balanced costs nothing; sure of a single class costs much, yet is finite."""
    np.testing.assert_allclose(class_balance_penalty(jnp.eye(4)), 0, atol=1e-6)
    np.testing.assert_allclose(class_balance_penalty(jnp.full((3, 4), 0.25)), 0, atol=1e-6)
    collapsed = class_balance_penalty(jnp.eye(4)[jnp.zeros(4, jnp.int32)])
    assert 5 < collapsed < np.inf


def test_class_balance_penalty_pushes_towards_the_rare_class():
    logits = jnp.tile(jnp.array([2.0, 0.0, -1.0]), (5, 1))
    gradient = jax.grad(lambda x: class_balance_penalty(jax.nn.softmax(x)))(logits)
    # -(1/c) Σ_k log p_k over the logits of 5 equal rows: (p - 1/c) / 5.
    np.testing.assert_allclose(gradient, (softmax(logits) - 1 / 3) / 5, **CLOSE)


def test_entropy_and_its_gradient():
    logits = draw(14, 9, 5, scale=2.0)
    chances = softmax(logits)
    expected = -(chances * np.log(chances)).sum(-1)
    np.testing.assert_allclose(entropy(logits), expected, **CLOSE)
    np.testing.assert_allclose(entropy(jnp.zeros((2, 5))), np.log(5), rtol=1e-6)
    np.testing.assert_allclose(entropy(jnp.array([[500.0, 0.0]])), 0, atol=1e-6)
    # d(-Σ p log p)/dz_i = -p_i (log p_i + H): also through the prediction as its own target.
    gradient = jax.grad(lambda x: jnp.sum(entropy(x)))(logits)
    np.testing.assert_allclose(gradient, -chances * (np.log(chances) + expected[:, None]), **CLOSE)

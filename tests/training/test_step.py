"""One training step, with numbers that can be followed by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dreamda_jax.training.state import new_state
from dreamda_jax.training.step import make_step

KEY = jax.random.key(3)
INPUTS = np.array([[1.0, 2.0], [0.5, -1.0], [-2.0, 0.25]], np.float32)
TARGETS = np.array([1.0, -1.0, 0.5], np.float32)
BATCH = (INPUTS, TARGETS)


def schedule(step):
    return 0.1 / (1.0 + step)


def least_squares(params, batch_stats, method_state, key, batch):
    """½ mean (x·w + b − y)², and a random number to see the key."""
    inputs, targets = batch
    residual = inputs @ params["kernel"] + params["bias"] - targets
    metrics = {"accuracy": jnp.float32(0.25), "drawn": jax.random.normal(key)}
    stats = {"largest": jnp.maximum(batch_stats["largest"], jnp.max(jnp.abs(inputs)))}
    return 0.5 * jnp.mean(residual**2), (stats, {"count": method_state["count"] + 2}, metrics)


def first_state(optimizer, *, with_ema=True):
    variables = {
        "params": {"kernel": jnp.array([0.5, -0.25]), "bias": jnp.float32(0.125)},
        "batch_stats": {"largest": jnp.float32(0)},
    }
    method_state = {"count": jnp.int32(5)}
    return new_state(variables, optimizer, with_ema=with_ema, method_state=method_state)


def by_hand(num_steps, *, momentum, ema_decay):
    """Float64: loss, norm of the gradient, parameters and their average after each step."""
    weights = np.array([0.5, -0.25, 0.125])
    average, velocity = weights.copy(), np.zeros(3)
    design = np.concatenate([INPUTS, np.ones((3, 1))], axis=1).astype(np.float64)
    for step in range(num_steps):
        residual = design @ weights - TARGETS
        gradient = design.T @ residual / 3
        velocity = momentum * velocity + gradient
        weights = weights - 0.1 / (1 + step) * velocity
        average = ema_decay * average + (1 - ema_decay) * weights
        yield 0.5 * np.mean(residual**2), np.sqrt(np.sum(gradient**2)), weights, average


def flat(params) -> np.ndarray:
    return np.concatenate([np.asarray(params["kernel"]), np.asarray(params["bias"])[None]])


def test_steps_are_those_by_hand():
    optimizer = optax.sgd(schedule, momentum=0.9)
    step = jax.jit(make_step(least_squares, optimizer, schedule, ema_decay=0.75))
    state = first_state(optimizer)
    for number, expected in enumerate(by_hand(4, momentum=0.9, ema_decay=0.75)):
        loss, norm, weights, average = expected
        state, metrics = step(KEY, state, BATCH)
        assert int(state.step) == number + 1
        # Four steps of float32 sums of three.
        np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
        np.testing.assert_allclose(metrics["gradient_norm"], norm, rtol=1e-5)
        np.testing.assert_allclose(metrics["learning_rate"], 0.1 / (1 + number), rtol=1e-6)
        np.testing.assert_allclose(flat(state.params), weights, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(flat(state.ema), average, rtol=1e-5, atol=1e-7)
        np.testing.assert_array_equal(flat(state.variables["params"]), flat(state.ema))
    assert np.abs(flat(state.params) - flat(state.ema)).max() > 1e-3


def test_the_loss_gets_the_key_of_its_step():
    optimizer = optax.sgd(schedule)
    step = make_step(least_squares, optimizer, schedule, ema_decay=0.5)
    state, drawn = first_state(optimizer), []
    for number in range(3):
        state, metrics = step(KEY, state, BATCH)
        expected = jax.random.normal(jax.random.fold_in(KEY, number))
        np.testing.assert_array_equal(metrics["drawn"], expected)
        drawn.append(float(metrics["drawn"]))
    assert len(set(drawn)) == 3


def test_what_the_loss_returns_is_in_the_next_state():
    optimizer = optax.sgd(schedule)
    step = make_step(least_squares, optimizer, schedule, ema_decay=0.5)
    state, metrics = step(KEY, first_state(optimizer), BATCH)
    assert set(metrics) == {"accuracy", "drawn", "loss", "gradient_norm", "learning_rate"}
    assert metrics["accuracy"] == 0.25
    assert state.batch_stats["largest"] == 2
    assert state.method_state["count"] == 7
    state, _ = step(KEY, state, BATCH)
    assert state.method_state["count"] == 9


def test_without_an_average_the_parameters_are_used():
    optimizer = optax.sgd(schedule)
    step = make_step(least_squares, optimizer, schedule, ema_decay=0.5)
    state, _ = step(KEY, first_state(optimizer, with_ema=False), BATCH)
    assert state.ema is None
    np.testing.assert_array_equal(flat(state.variables["params"]), flat(state.params))


def test_a_step_continued_from_a_copy_of_its_state_is_the_same():
    """A pure function: what an interruption keeps decides all that follows."""
    optimizer = optax.adam(schedule)
    step = jax.jit(make_step(least_squares, optimizer, schedule, ema_decay=0.9))
    state = step(KEY, first_state(optimizer), BATCH)[0]
    copied = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), state)
    for first, second in zip(
        jax.tree.leaves(step(KEY, state, BATCH)),
        jax.tree.leaves(step(KEY, copied, BATCH)),
        strict=True,
    ):
        np.testing.assert_array_equal(first, second)

"""One training step, with numbers that can be followed by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dreamda_jax.runtime.state import new_state
from dreamda_jax.runtime.step import make_step

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


def test_a_decay_may_be_a_function_of_the_steps_done_before():
    optimizer = optax.sgd(schedule, momentum=0.9)
    asked = []

    def decay(step):
        asked.append(step)
        return jnp.where(step > 0, 1 - 1 / (2.0 + step), 0.0)

    step = make_step(least_squares, optimizer, schedule, ema_decay=decay)
    state, average = first_state(optimizer), np.array([0.5, -0.25, 0.125])
    for number, (_, _, weights, _) in enumerate(by_hand(4, momentum=0.9, ema_decay=0.0)):
        state, _ = step(KEY, state, BATCH)
        of_step = [0, 2 / 3, 3 / 4, 4 / 5][number]
        average = of_step * average + (1 - of_step) * weights
        # Float32 sums of three, as above.
        np.testing.assert_allclose(flat(state.ema), average, rtol=1e-5, atol=1e-7)
    assert [int(each) for each in asked] == [0, 1, 2, 3]
    state, _ = step(KEY, first_state(optimizer, with_ema=False), BATCH)
    assert state.ema is None


ROWS = 8
DESIGN = np.random.default_rng(0).standard_normal((ROWS, 2), np.float32)
ROW_BATCH = (DESIGN, DESIGN @ np.float32([1, -2]) + 1, np.arange(ROWS, dtype=np.int32))


def noisy_rows(params, batch_stats, method_state, key, batch):
    """Least squares of noisy inputs; the noise of a row follows from the row."""
    inputs, targets, rows = batch
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, rows)
    noise = jax.vmap(lambda key: jax.random.normal(key, (2,)))(keys)
    residual = (inputs + 0.3 * noise) @ params["kernel"] + params["bias"] - targets
    stats = {"largest": jnp.maximum(batch_stats["largest"], jnp.max(jnp.abs(inputs)))}
    state = {
        "sum": method_state["sum"] + inputs.sum(),
        "sizes": method_state["sizes"] + len(inputs) ** 2,
        "last": jnp.zeros(ROWS).at[rows].set(1.0),
    }
    return 0.5 * jnp.mean(residual**2), (stats, state, {"noise": jnp.mean(noise)})


def accumulated(portions, *, num_steps=3):
    """(metrics of the first step, state after all steps)."""
    optimizer = optax.adam(schedule)
    step = jax.jit(
        make_step(
            noisy_rows,
            optimizer,
            schedule,
            ema_decay=0.75,
            accumulation=portions,
            state_metrics=lambda method_state: {"sum": method_state["sum"]},
        )
    )
    method_state = {"sum": jnp.float32(0), "sizes": jnp.int32(0), "last": jnp.zeros(ROWS)}
    params = {"kernel": jnp.array([0.5, -0.25]), "bias": jnp.float32(0.125)}
    variables = {"params": params, "batch_stats": {"largest": jnp.float32(0)}}
    state = new_state(variables, optimizer, with_ema=True, method_state=method_state)
    state, first = step(KEY, state, ROW_BATCH)
    for _ in range(num_steps - 1):
        state, _ = step(KEY, state, ROW_BATCH)
    return first, state


@pytest.mark.parametrize("portions", [2, 4, 8])
def test_a_batch_in_portions_is_the_batch_at_once(portions):
    expected_metrics, expected = accumulated(1)
    metrics, state = accumulated(portions)
    assert set(metrics) == {"loss", "noise", "sum", "gradient_norm", "learning_rate"}
    np.testing.assert_allclose(metrics["sum"], DESIGN.sum(), rtol=1e-5)  # after all portions
    for name, value in expected_metrics.items():
        # Float32 means of means.
        np.testing.assert_allclose(metrics[name], value, rtol=1e-5, atol=1e-7, err_msg=name)
    np.testing.assert_allclose(flat(state.params), flat(expected.params), rtol=1e-5)
    np.testing.assert_allclose(flat(state.ema), flat(expected.ema), rtol=1e-5)
    for one, other in zip(
        jax.tree.leaves(state.opt_state), jax.tree.leaves(expected.opt_state), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-7)
    assert state.batch_stats["largest"] == expected.batch_stats["largest"]
    np.testing.assert_allclose(state.method_state["sum"], expected.method_state["sum"], rtol=1e-5)
    assert int(state.step) == 3


def test_portions_are_spread_over_the_batch_and_follow_each_other():
    """Neighbouring rows lie on one device: a portion has rows of all devices."""
    _, state = accumulated(2, num_steps=1)
    assert state.method_state["sizes"] == 2 * 4**2
    np.testing.assert_array_equal(np.flatnonzero(state.method_state["last"]), [1, 3, 5, 7])
    _, state = accumulated(4, num_steps=1)
    assert state.method_state["sizes"] == 4 * 2**2
    np.testing.assert_array_equal(np.flatnonzero(state.method_state["last"]), [3, 7])


def test_rows_that_do_not_divide_into_portions_are_refused():
    with pytest.raises(TypeError, match="reshape"):
        accumulated(3)

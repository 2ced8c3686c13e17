"""One step of training, whatever its loss: gradient, optimizer, averages, metrics."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from dreamda_jax.runtime.state import TrainState, update_state
from dreamda_jax.types import Loss, Metrics

TrainingStep = Callable[[jax.Array, TrainState, Any], tuple[TrainState, Metrics]]


def make_step(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    schedule: Callable[[jax.Array], jax.Array],
    *,
    ema_decay: float | Callable[[jax.Array], jax.Array],
    accumulation: int = 1,
    state_metrics: Callable[[Any], Metrics] = lambda method_state: {},
) -> TrainingStep:
    """A pure function of a key, a state and a global batch; compile it with `jax.jit`.

    The loss is given `fold_in(key, step)`, from which all its random numbers derive, so neither the
    number of devices nor an interruption changes them.

    Args:
      loss: of the training method.
      optimizer: from `make_optimizer`.
      schedule: its learning rate, for the metrics.
      ema_decay: of the averaged weights, or a function of the steps done.
      accumulation: portions that a batch is taken in, one after the other, to save memory; divides
        its rows. The loss's random numbers must then follow from the rows, as all portions are
        given one key.
      state_metrics: of the method's state after the step, besides those of the loss.

    Returns:
      `step(key, state, batch) -> (state, metrics)`; to the loss's metrics come loss, gradient_norm
      and learning_rate. Of several portions gradients and metrics are means.
    """
    differentiate = jax.value_and_grad(loss, has_aux=True)

    def step(key: jax.Array, state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(key, state.step)

        def portion(carry: tuple, rows: Any) -> tuple[tuple, Metrics]:
            batch_stats, method_state, total = carry
            (value, (batch_stats, method_state, metrics)), gradients = differentiate(
                state.params, batch_stats, method_state, key, rows
            )
            total = jax.tree.map(jnp.add, total, gradients) if accumulation > 1 else gradients
            return (batch_stats, method_state, total), {**metrics, "loss": value}

        if accumulation == 1:
            carry = (state.batch_stats, state.method_state, None)
            (batch_stats, method_state, gradients), metrics = portion(carry, batch)
        else:
            zeros = jax.tree.map(jnp.zeros_like, state.params)
            (batch_stats, method_state, total), each = jax.lax.scan(
                portion,
                (state.batch_stats, state.method_state, zeros),
                jax.tree.map(lambda x: _portions(x, accumulation), batch),
            )
            gradients = jax.tree.map(lambda x: x / accumulation, total)
            metrics = {name: jnp.mean(values) for name, values in each.items()}
        metrics |= {
            **state_metrics(method_state),
            "gradient_norm": optax.tree.norm(gradients),
            "learning_rate": schedule(state.step),
        }
        state = update_state(state, gradients, batch_stats, optimizer, ema_decay=ema_decay)
        return dataclasses.replace(state, method_state=method_state), metrics

    return step


def _portions(rows: jax.Array, count: int) -> jax.Array:
    """[b, ...] -> [count, b / count, ...]; every portion has rows of all devices."""
    return jnp.swapaxes(rows.reshape(len(rows) // count, count, *rows.shape[1:]), 0, 1)

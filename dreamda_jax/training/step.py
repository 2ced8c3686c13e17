"""One step of training, whatever its loss: gradient, optimizer, averages, metrics."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import optax

from dreamda_jax.training.state import TrainState, update_state
from dreamda_jax.types import Loss, Metrics

TrainingStep = Callable[[jax.Array, TrainState, Any], tuple[TrainState, Metrics]]


def make_step(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    schedule: Callable[[jax.Array], jax.Array],
    *,
    ema_decay: float,
) -> TrainingStep:
    """A pure function of a key, a state and a global batch; compile it with `jax.jit`.

    The loss is given `fold_in(key, step)`, from which all its random numbers derive, so neither the
    number of devices nor an interruption changes them.

    Args:
      loss: of the training method.
      optimizer: from `make_optimizer`.
      schedule: its learning rate, for the metrics.
      ema_decay: of the averaged weights.

    Returns:
      `step(key, state, batch) -> (state, metrics)`; to the loss's metrics come loss, gradient_norm
      and learning_rate.
    """

    def step(key: jax.Array, state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        (value, (batch_stats, method_state, metrics)), gradients = jax.value_and_grad(
            loss, has_aux=True
        )(
            state.params,
            state.batch_stats,
            state.method_state,
            jax.random.fold_in(key, state.step),
            batch,
        )
        metrics = {
            **metrics,
            "loss": value,
            "gradient_norm": optax.global_norm(gradients),
            "learning_rate": schedule(state.step),
        }
        state = update_state(state, gradients, batch_stats, optimizer, ema_decay=ema_decay)
        return dataclasses.replace(state, method_state=method_state), metrics

    return step

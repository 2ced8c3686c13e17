"""A recipe as an optimizer and its learning rate."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from dreamda_jax.options.training import Recipe
from dreamda_jax.types import Params

_MAX_WARMUP_SHARE = 0.1  # of all steps, so that a short run is not all warm-up


def learning_rate_schedule(
    recipe: Recipe, *, steps_per_epoch: float, num_steps: int
) -> Callable[[jax.typing.ArrayLike], jax.Array]:
    """The learning rate of step 0, 1, … num_steps - 1.

    As in timm without `warmup_prefix`: warm-up replaces the first part of the schedule rather than
    moving it. Cosine: lr/2 · (1 + cos(π t / num_steps)); FixMatch's: lr · cos(7π t / 16 num_steps).

    Args:
      recipe: which schedule.
      steps_per_epoch: to turn epochs into steps.
      num_steps: of the whole training.
    """
    peak = recipe.learning_rate
    warmup = min(recipe.warmup_epochs * steps_per_epoch, _MAX_WARMUP_SHARE * num_steps)

    def schedule(step: jax.typing.ArrayLike) -> jax.Array:
        t = jnp.asarray(step, jnp.float32)
        if recipe.schedule == "cosine":
            rate = peak * 0.5 * (1.0 + jnp.cos(jnp.pi * t / num_steps))
        elif recipe.schedule == "cosine_7_16":
            rate = peak * jnp.cos(7.0 / 16.0 * jnp.pi * t / num_steps)
        elif recipe.schedule == "step":
            interval = recipe.decay_epochs * steps_per_epoch
            rate = peak * recipe.decay_rate ** jnp.floor(t / interval)
        else:
            rate = jnp.full_like(t, peak)
        if warmup > 0:
            start = recipe.warmup_learning_rate
            rising = start + (peak - start) * t / warmup
            rate = jnp.where(t < warmup, rising, rate)
        return rate

    return schedule


def make_optimizer(
    recipe: Recipe, schedule: Callable[[jax.typing.ArrayLike], jax.Array]
) -> optax.GradientTransformation:
    """Clipping, weight decay, momentum or Adam, learning rate, in this order.

    SGD is torch's and timm's: decay is part of the gradient, before the momentum.
    """
    steps = [optax.clip_by_global_norm(recipe.clip_norm)] if recipe.clip_norm else []
    decay = optax.add_decayed_weights(recipe.weight_decay, mask=_decayed)
    if recipe.optimizer == "sgd":
        steps += [decay, optax.trace(decay=recipe.momentum, nesterov=True)]
    else:
        steps += [optax.scale_by_adam(b1=recipe.momentum), decay]
    return optax.chain(*steps, optax.scale_by_learning_rate(schedule))


def _decayed(params: Params) -> Params:
    def decayed(path: tuple[Any, ...], leaf: jax.Array) -> bool:
        # Biases of stacked heads have two axes.
        return leaf.ndim > 1 and getattr(path[-1], "key", None) != "bias"

    return jax.tree_util.tree_map_with_path(decayed, params)

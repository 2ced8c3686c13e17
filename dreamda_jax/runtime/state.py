"""What a training carries from step to step."""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from dreamda_jax.types import Params


@flax.struct.dataclass
class TrainState:
    """Everything a checkpoint holds.

    Attributes:
      step: int32 [], optimizer steps done.
      params: float32.
      batch_stats: running statistics of normalisation, float32; {} where there are none.
      opt_state: optax's.
      ema: the average of `params`, or None.
      method_state: what a training method keeps besides, such as running statistics; or None.
    """

    step: jax.Array
    params: Params
    batch_stats: Params
    opt_state: Any
    ema: Params | None
    method_state: Any = None

    @property
    def variables(self) -> dict[str, Params]:
        """What evaluation and export use: the averaged weights where there are any."""
        params = self.params if self.ema is None else self.ema
        return {"params": params, "batch_stats": self.batch_stats}


def initial_variables(module: nn.Module, key: jax.Array, image_size: int) -> dict[str, Params]:
    """Fresh {"params", "batch_stats"} of a classifier; traceable, `jax.eval_shape` gives shapes."""
    images = jnp.zeros((1, image_size, image_size, 3), jnp.float32)
    variables = module.init(key, images, train=False)
    return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}


def new_state(
    variables: dict[str, Params],
    optimizer: optax.GradientTransformation,
    *,
    with_ema: bool,
    method_state: Any = None,
) -> TrainState:
    """The state before the first step; traceable.

    Args:
      variables: {"params", "batch_stats"}, fresh or pretrained.
      optimizer: whose state is made.
      with_ema: keep an average of the parameters, starting as the parameters.
      method_state: of the training method, before the first step.
    """
    params = variables["params"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=variables["batch_stats"],
        opt_state=optimizer.init(params),
        ema=jax.tree.map(jnp.copy, params) if with_ema else None,
        method_state=method_state,
    )


def update_state(
    state: TrainState,
    gradients: Params,
    batch_stats: Params,
    optimizer: optax.GradientTransformation,
    *,
    ema_decay: float | Callable[[jax.Array], jax.Array],
) -> TrainState:
    """One optimizer step; the method's state is left alone.

    Args:
      state: before it.
      gradients: as `state.params`.
      batch_stats: the new ones.
      optimizer: whose state `state` holds.
      ema_decay: of the average, or a function of the steps done before this one.
    """
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    ema = state.ema
    if ema is not None:
        decay = ema_decay(state.step) if callable(ema_decay) else ema_decay
        ema = optax.incremental_update(params, ema, step_size=1.0 - decay)
    return dataclasses.replace(
        state,
        step=state.step + 1,
        params=params,
        batch_stats=batch_stats,
        opt_state=opt_state,
        ema=ema,
    )

"""A classifier's training step on random images, for the benchmarks that time one."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dreamda_jax.algorithms import random_key
from dreamda_jax.algorithms.augment.options import Augment
from dreamda_jax.models.classifiers import registry
from dreamda_jax.options.training import Recipe
from dreamda_jax.runtime import state
from dreamda_jax.runtime.flops import count_flops
from dreamda_jax.runtime.step import TrainingStep, make_step
from dreamda_jax.train import supervised
from dreamda_jax.train.optimizer import learning_rate_schedule, make_optimizer

NUM_CLASSES = 1000


class Program(NamedTuple):
    """A training step, not compiled yet, and what it runs on."""

    module: nn.Module
    step: TrainingStep
    first_state: Callable[[], state.TrainState]
    batch: supervised.Labelled


def make_program(
    architecture: registry.Architecture, augment: Augment, size: int, *, batch_size: int, dtype: str
) -> Program:
    """The step as `train.programs` makes it, and random images of the usual canvas.

    Args:
      architecture: of the classifier.
      augment: what the step does to its images first.
      size: side of the network's input in pixels.
      batch_size: images of a step, over all devices.
      dtype: of the computation, "float32" or "bfloat16".
    """
    recipe = Recipe()
    schedule = learning_rate_schedule(recipe, steps_per_epoch=100, num_steps=10_000)
    sgd = make_optimizer(recipe, schedule)
    module = architecture.build(NUM_CLASSES, getattr(jnp, dtype))
    loss = supervised.supervised_loss(
        module,
        augment,
        num_classes=NUM_CLASSES,
        image_size=size,
        mean=architecture.mean,
        std=architecture.std,
        label_smoothing=0.0,
    )
    step = make_step(loss, sgd, schedule, ema_decay=0.0)

    def first_state() -> state.TrainState:
        variables = state.initial_variables(module, jax.random.key(0, impl="rbg"), size)
        return state.new_state(variables, sgd, with_ema=False)

    rng, canvas = np.random.default_rng(0), round(size * 8 / 7)
    images = rng.integers(256, size=(batch_size, canvas, canvas, 3), dtype=np.uint8)
    labels = rng.integers(NUM_CLASSES, size=batch_size, dtype=np.int32)
    return Program(module, step, first_state, supervised.Labelled(images, labels))


def forward_flops(program: Program, size: int) -> float:
    """FLOPs of the forward pass of a batch."""
    first = jax.eval_shape(program.first_state)
    images = jax.ShapeDtypeStruct((len(program.batch.labels), size, size, 3), jnp.float32)
    rngs = {"dropout": random_key.key(0)}
    kwargs: Any = {"train": True, "mutable": ["batch_stats"], "rngs": rngs}
    forward = functools.partial(program.module.apply, **kwargs)
    return count_flops(forward, first.variables, images)

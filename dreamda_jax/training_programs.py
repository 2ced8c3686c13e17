"""What a training compiles, once for all its runs: initialisation, step and evaluation."""

import functools
from collections.abc import Iterable
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from dreamda_jax import mesh as meshes
from dreamda_jax.build_training import Training
from dreamda_jax.data.evaluation_stream import EvaluationBatch
from dreamda_jax.models.classifiers import pretrained
from dreamda_jax.training import evaluation, loop, supervised
from dreamda_jax.training.optimizer import learning_rate_schedule, make_optimizer
from dreamda_jax.training.state import TrainState, initial_variables, new_state
from dreamda_jax.types import Params


class Programs:
    """The compiled functions of a configuration over all devices of the job.

    Args:
      parts: the checked configuration.
    """

    def __init__(self, parts: Training) -> None:
        self.mesh = meshes.training_mesh(parts.job.fsdp)
        self._parts = parts
        self._module = open_module(parts)
        schedule = learning_rate_schedule(
            parts.recipe, steps_per_epoch=parts.steps_per_epoch, num_steps=parts.num_steps
        )
        self._optimizer = make_optimizer(parts.recipe, schedule)
        make = functools.partial(initial_variables, self._module, image_size=parts.image_size)
        self._initial = jax.jit(make, out_shardings=meshes.replicated(self.mesh))
        place = functools.partial(
            new_state, optimizer=self._optimizer, with_ema=parts.recipe.ema_decay > 0
        )
        abstract = jax.eval_shape(lambda key: place(make(key)), jax.random.key(0))
        shardings = meshes.state_sharding(self.mesh, abstract)
        self._place = jax.jit(place, out_shardings=shardings)
        shared: dict[str, Any] = {
            "num_classes": len(parts.label_names),
            "image_size": parts.image_size,
            "mean": parts.architecture.mean,
            "std": parts.architecture.std,
        }
        self._step = jax.jit(
            supervised.make_supervised_step(
                self._module,
                self._optimizer,
                schedule,
                parts.augment,
                label_smoothing=parts.recipe.label_smoothing,
                ema_decay=parts.recipe.ema_decay,
                **shared,
            ),
            donate_argnums=1,
            out_shardings=(shardings, meshes.replicated(self.mesh)),
        )
        self._evaluate = jax.jit(evaluation.make_evaluate_step(self._module, **shared))

    def first_state(self, seed: int) -> TrainState:
        """The state of step 0: initialised from `seed`, or pretrained.

        Raises:
          UserError: the weights cannot be found or do not fit the architecture.
        """
        # Drawn by the hardware's generator: threefry takes three times as long to compile.
        variables = self._initial(jax.random.key(seed, impl="rbg"))
        if self._parts.weights is not None:
            loaded = pretrained.load(
                self._parts.architecture, meshes.to_host(variables), self._parts.weights
            )
            if loaded.head_replaced:
                print(f"head        {loaded.head_replaced}", flush=True)
            variables = {**variables, **loaded.variables}  # Swin has no batch_stats to load
        return self._place(variables)

    def step(self, seed: int) -> loop.Step:
        """The training step of a run; `seed` is an argument of one program."""
        return functools.partial(self._step, jax.random.key(seed))

    def confusion(self, variables: Params, batches: Iterable[EvaluationBatch]) -> np.ndarray:
        """int64 [classes, classes] of a whole set; rows are true labels."""
        return evaluation.evaluate(self._evaluate, variables, batches, mesh=self.mesh)


def open_module(parts: Training) -> nn.Module:
    """The classifier's network; it holds no weight."""
    dtype = {"float32": jax.numpy.float32, "bfloat16": jax.numpy.bfloat16}
    return parts.architecture.build(
        len(parts.label_names), dtype[parts.classifier.dtype], parts.classifier.stem
    )

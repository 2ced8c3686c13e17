"""What a training compiles, once for all its runs: initialisation, steps and evaluation."""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from dreamda_jax.algorithms import random_key
from dreamda_jax.data.evaluation_stream import EvaluationBatch
from dreamda_jax.models.classifiers import pretrained
from dreamda_jax.runtime import devices, loop, program_notes
from dreamda_jax.runtime.state import TrainState, initial_variables, new_state
from dreamda_jax.runtime.step import make_step
from dreamda_jax.train import accuracy
from dreamda_jax.train.build import Training
from dreamda_jax.train.optimizer import learning_rate_schedule, make_optimizer
from dreamda_jax.types import Loss, Params


class Stage(NamedTuple):
    """A loss, compiled.

    Attributes:
      first_state: `(variables, method_state) -> state` of step 0, placed on the devices.
      step: `(key, state, batch) -> (state, metrics)`; the state given is consumed.
    """

    first_state: Callable[[dict[str, Params], Any], TrainState]
    step: Callable[[jax.Array, TrainState, Any], tuple[TrainState, dict[str, jax.Array]]]

    def of(self, key: jax.Array) -> loop.Step:
        """The step of a run; the key is an argument of one program."""
        return functools.partial(self.step, key)


class Programs:
    """The compiled functions of a configuration over all devices of the job.

    Args:
      parts: the checked configuration.
    """

    def __init__(self, parts: Training) -> None:
        self.mesh = devices.training_mesh(parts.job.fsdp)
        self.module = open_module(parts)
        self._parts = parts
        make = functools.partial(initial_variables, self.module, image_size=parts.image_size)
        self._initial = jax.jit(make, out_shardings=devices.replicated(self.mesh))
        self.variable_shapes = jax.eval_shape(make, random_key.key(0))
        self._evaluate = self.evaluate_step(self.classify)

    def classify(self, variables: Params, images: jax.Array) -> Any:
        """Logits float32 [b, classes] of normalised images, nothing random."""
        return self.module.apply(variables, images, train=False)

    def first_variables(self, seed: int) -> dict[str, Params]:
        """{"params", "batch_stats"}, initialised from `seed` or pretrained, on every device.

        Raises:
          UserError: the weights cannot be found or do not fit the architecture.
        """
        # Drawn by the hardware's generator: threefry takes three times as long to compile.
        variables = self._initial(jax.random.key(seed, impl="rbg"))
        if self._parts.weights is not None:
            loaded = pretrained.load(
                self._parts.architecture, devices.to_host(variables), self._parts.weights
            )
            if loaded.head_replaced:
                print(f"head        {loaded.head_replaced}", flush=True)
            variables = {**variables, **loaded.variables}  # Swin has no batch_stats to load
        return variables

    def stage(self, loss: Loss, variables: Any, *, num_steps: int, steps_per_epoch: float) -> Stage:
        """Compiles a loss, with the recipe's optimizer.

        Args:
          loss: of params as in `variables`.
          variables: {"params", "batch_stats"}, arrays or their shapes.
          num_steps: of the learning rate's schedule.
          steps_per_epoch: likewise.
        """
        recipe = self._parts.recipe
        schedule = learning_rate_schedule(
            recipe, steps_per_epoch=steps_per_epoch, num_steps=num_steps
        )
        optimizer = make_optimizer(recipe, schedule)
        place = functools.partial(new_state, optimizer=optimizer, with_ema=recipe.ema_decay > 0)
        abstract = jax.eval_shape(place, variables)
        shardings = devices.state_sharding(self.mesh, abstract)

        def first_state(variables: dict[str, Params], method_state: Any = None) -> TrainState:
            placed = dataclasses.replace(
                shardings, method_state=devices.state_sharding(self.mesh, method_state)
            )
            make = functools.partial(place, method_state=method_state)
            return jax.jit(make, out_shardings=placed)(variables)

        step = make_step(loss, optimizer, schedule, ema_decay=recipe.ema_decay)
        # What the step returns is sharded as what it was given: `first_state` said how.
        keep = dataclasses.replace(shardings, method_state=devices.replicated(self.mesh))
        compiled = jax.jit(
            step, donate_argnums=1, out_shardings=(keep, devices.replicated(self.mesh))
        )
        return Stage(first_state, compiled)

    def evaluate_step(self, classify: Callable[..., jax.Array]) -> accuracy.EvaluateStep:
        """Compiles the confusion matrix of a batch; see `make_evaluate_step`."""
        step = accuracy.make_evaluate_step(classify, **self.shape)
        return jax.jit(step)

    @property
    def shape(self) -> dict[str, Any]:
        """What a loss and an evaluation need to know of images and labels."""
        return {"num_classes": len(self._parts.label_names), **view_of(self._parts)}

    def confusion(
        self,
        variables: Params,
        batches: Iterable[EvaluationBatch],
        *,
        step: accuracy.EvaluateStep | None = None,
    ) -> np.ndarray:
        """int64 [classes, classes] of a whole set; rows are true labels."""
        return accuracy.evaluate(step or self._evaluate, variables, batches, mesh=self.mesh)


def notes_of(parts: Training, stage: str) -> program_notes.ProgramNotes:
    """What earlier runs left word of a stage's step, which takes as long at any learning rate.

    Args:
      parts: the checked configuration.
      stage: such as "supervised" or "stage 3".
    """
    recipe, of = parts.recipe, parts.self_training
    depends_on = {
        "classifier": dataclasses.replace(parts.classifier, weights=""),
        "image_size": parts.image_size,
        "canvas": parts.canvas,
        "num_classes": len(parts.label_names),
        "batch_size": recipe.batch_size,
        "optimizer": recipe.optimizer,
        "averaged": recipe.ema_decay > 0,
        "augment": parts.augment,
        "fsdp": parts.job.fsdp,
        "num_workers": parts.loader.num_workers,
        "self_training": None if of is None else (of.strong, of.consistency, of.amst, of.softmatch),
    }
    return program_notes.notes_of(f"train, {stage}", depends_on)


def open_module(parts: Training) -> nn.Module:
    """The classifier's network; it holds no weight."""
    dtype = {"float32": jax.numpy.float32, "bfloat16": jax.numpy.bfloat16}
    return parts.architecture.build(
        len(parts.label_names), dtype[parts.classifier.dtype], parts.classifier.stem
    )


def view_of(parts: Training) -> dict[str, Any]:
    """Size and normalisation of the classifier's input."""
    architecture = parts.architecture
    return {"mean": architecture.mean, "std": architecture.std, "image_size": parts.image_size}

"""What a training compiles, once for all its runs: initialisation, steps and evaluation."""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import numpy as np

from dreamda_jax.algorithms import random_key
from dreamda_jax.data.evaluation_stream import EvaluationBatch
from dreamda_jax.models.classifiers import pretrained
from dreamda_jax.options.training import Recipe
from dreamda_jax.runtime import devices, loop
from dreamda_jax.runtime.state import TrainState, initial_variables, new_state
from dreamda_jax.runtime.step import make_step
from dreamda_jax.train import accuracy
from dreamda_jax.train.network import NetworkSpec
from dreamda_jax.train.optimizer import learning_rate_schedule, make_optimizer
from dreamda_jax.train.setups import Length
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
    """The compiled functions of a classifier over all devices of a mesh; a base of each method's.

    Args:
      network: the classifier.
      recipe: of its optimizer.
      mesh: of the job, or of devices that are only compiled for.
    """

    def __init__(self, network: NetworkSpec, recipe: Recipe, mesh: jax.sharding.Mesh) -> None:
        self.mesh = mesh
        self.network = network
        self.module = network.module()
        self._recipe = recipe
        make = functools.partial(initial_variables, self.module, image_size=network.image_size)
        self._initial = jax.jit(make, out_shardings=devices.replicated(mesh))
        self.variable_shapes = jax.eval_shape(make, random_key.key(0))
        self._evaluate = self.evaluate_step(self.classify)

    @property
    def main_stage(self) -> Stage:
        """That whose steps take most of a training's time."""
        raise NotImplementedError

    def main_start(self, variables: dict[str, Params]) -> tuple[dict[str, Params], Any]:
        """Variables and method state of the main stage's step 0, from a classifier's variables."""
        raise NotImplementedError

    def batch_shapes(self, batch_size: int, *, canvas: int) -> Any:
        """Shapes and dtypes of a global batch of the main stage.

        Args:
          batch_size: labelled images.
          canvas: side to which images are decoded.
        """
        raise NotImplementedError

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
        if self.network.weights is not None:
            loaded = pretrained.load(
                self.network.architecture, devices.to_host(variables), self.network.weights
            )
            if loaded.head_replaced:
                print(f"head        {loaded.head_replaced}", flush=True)
            elsewhere = self.network.image_size != self.network.architecture.image_size
            if loaded.is_renamed and elsewhere and self.network.architecture.renamed_elsewhere:
                print(f"note        {self.network.architecture.renamed_elsewhere}", flush=True)
            variables = {**variables, **loaded.variables}  # Swin has no batch_stats to load
        return variables

    def stage(self, loss: Loss, variables: Any, *, length: Length) -> Stage:
        """Compiles a loss, with the recipe's optimizer.

        Args:
          loss: of params as in `variables`.
          variables: {"params", "batch_stats"}, arrays or their shapes.
          length: of the learning rate's schedule.
        """
        recipe = self._recipe
        schedule = learning_rate_schedule(
            recipe, steps_per_epoch=length.steps_per_epoch, num_steps=length.num_steps
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
        step = accuracy.make_evaluate_step(classify, **self.network.shape)
        return jax.jit(step)

    def confusion(
        self,
        variables: Params,
        batches: Iterable[EvaluationBatch],
        *,
        step: accuracy.EvaluateStep | None = None,
    ) -> np.ndarray:
        """int64 [classes, classes] of a whole set; rows are true labels."""
        return accuracy.evaluate(step or self._evaluate, variables, batches, mesh=self.mesh)

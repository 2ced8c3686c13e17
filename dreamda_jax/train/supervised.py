"""Supervised training from its seed to its accuracy."""

import contextlib
import functools
import threading
from collections.abc import Generator
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from dreamda_jax.algorithms import random_key
from dreamda_jax.algorithms.augment import policy
from dreamda_jax.options.training import Recipe
from dreamda_jax.runtime import devices
from dreamda_jax.train.network import NetworkSpec
from dreamda_jax.train.output import TrainingOutput, training_stream
from dreamda_jax.train.programs import Programs, Stage
from dreamda_jax.train.setups import Length, SupervisedSetup
from dreamda_jax.train.summary import RunResult
from dreamda_jax.types import AnyArray, Loss, Params


class Labelled(NamedTuple):
    """A global batch of labelled images."""

    images: AnyArray
    """uint8 [b, h, w, 3], sRGB 0..255."""
    labels: AnyArray
    """int32 [b]."""


def supervised_loss(
    module: nn.Module,
    augment: policy.Augment,
    *,
    num_classes: int,
    image_size: int,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    label_smoothing: float,
) -> Loss:
    """The loss of the classifier's params and a `Labelled` batch, for `make_step`.

    Args:
      module: the classifier.
      augment: what is done to the training images.
      num_classes: of the labels.
      image_size: what the classifier sees; the batch may be larger.
      mean: of the input normalisation, on images in [0, 1].
      std: likewise.
      label_smoothing: share of the target spread over all classes.

    Returns:
      A loss whose metric is accuracy: of the augmented images, against the label before any mixing.
    """

    def loss(params, batch_stats, method_state: Any, key: jax.Array, batch: Labelled):
        augment_key, dropout_key = jax.random.split(key)
        targets = optax.smooth_labels(jax.nn.one_hot(batch.labels, num_classes), label_smoothing)
        images, targets = policy.train_view(
            augment, augment_key, batch.images, targets, size=image_size, mean=mean, std=std
        )
        logits, updated = module.apply(
            {"params": params, "batch_stats": batch_stats},
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": dropout_key},
        )
        metrics = {"accuracy": jnp.mean(jnp.argmax(logits, -1) == batch.labels)}
        mean_loss = optax.softmax_cross_entropy(logits, targets).mean()
        return mean_loss, (updated.get("batch_stats", {}), method_state, metrics)

    return loss


class SupervisedPrograms(Programs):
    """The compiled functions of supervised training.

    Args:
      network: the classifier.
      recipe: of its optimizer and its loss.
      mesh: of the job, or of devices that are only compiled for.
      augment: what is done to the training images.
      length: of the training.
    """

    def __init__(
        self,
        network: NetworkSpec,
        recipe: Recipe,
        mesh: jax.sharding.Mesh,
        *,
        augment: policy.Augment,
        length: Length,
    ) -> None:
        super().__init__(network, recipe, mesh)
        loss = supervised_loss(
            self.module, augment, label_smoothing=recipe.label_smoothing, **network.shape
        )
        self._stage = self.stage(loss, self.variable_shapes, length=length)

    @classmethod
    def of(cls, setup: SupervisedSetup, mesh: jax.sharding.Mesh) -> "SupervisedPrograms":
        """Those of a setup."""
        return cls(
            setup.network,
            setup.recipe,
            mesh,
            augment=setup.augment,
            length=setup.length,
        )

    @property
    def main_stage(self) -> Stage:
        """The only one."""
        return self._stage

    def main_start(self, variables: dict[str, Params]) -> tuple[dict[str, Params], None]:
        """See `Programs`; there is no method state."""
        return variables, None

    def batch_shapes(self, batch_size: int, *, canvas: int) -> Labelled:
        """See `Programs`."""
        shape: Any = jax.ShapeDtypeStruct
        return Labelled(
            shape((batch_size, canvas, canvas, 3), jnp.uint8), shape((batch_size,), jnp.int32)
        )


class SupervisedTraining:
    """Cross-entropy on the labels there are; compiled once for all its runs.

    Args:
      setup: of the training.
      programs: made for it.
    """

    def __init__(self, setup: SupervisedSetup, programs: SupervisedPrograms) -> None:
        self._setup = setup
        self.programs = programs

    def train(self, run: int, stop: threading.Event) -> RunResult | None:
        """Trains run number `run`, or goes on training; what it makes is in `output/run-<run>`.

        Returns:
          The result, also of a run that had ended before; None if `stop` was set.

        Raises:
          UserError: training diverged, weights do not fit, all checkpoints are damaged, disk full.
        """
        setup, stage = self._setup, self.programs.main_stage
        output = TrainingOutput(
            run,
            job=setup.job,
            held_out=setup.held_out,
            reading=setup.reading,
            programs=self.programs,
        )
        if (result := output.result()) is not None:
            return result
        start = self.programs.main_start(self.programs.first_variables(output.seed))
        with contextlib.closing(output.best(output.directory)) as best:
            fitted = output.fit(
                output.directory,
                stage.first_state(*start),
                stage.of(random_key.key(output.seed)),
                functools.partial(self._batches, output.seed),
                validate=best.validate,
                num_steps=setup.length.num_steps,
                batch_size=setup.length.batch_size,
                steps_per_epoch=setup.length.steps_per_epoch,
                stop=stop,
                notes=setup.notes_of("supervised"),
            )
            return output.conclude(fitted, best, output.directory) if fitted.finished else None

    def _batches(self, seed: int, start_step: int) -> Generator[Labelled, None, None]:
        setup = self._setup
        stream = training_stream(
            setup.reading,
            setup.real,
            setup.synthetic,
            synthetic_ratio=setup.synthetic_ratio,
            seed=seed,
            batch_size=setup.length.batch_size,
            start_step=start_step,
            num_steps=setup.length.num_steps,
        )
        with contextlib.closing(stream):
            for batch in stream:
                rows = Labelled(batch.images, batch.labels)
                yield devices.global_rows(self.programs.mesh, rows)

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
from dreamda_jax.runtime import devices
from dreamda_jax.train.build import Training
from dreamda_jax.train.output import TrainingOutput, training_stream
from dreamda_jax.train.programs import Programs, notes_of
from dreamda_jax.train.summary import RunResult
from dreamda_jax.types import AnyArray, Loss


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


class SupervisedTraining:
    """Cross-entropy on the labels there are; compiled once for all its runs.

    Args:
      parts: the checked configuration.
    """

    def __init__(self, parts: Training) -> None:
        self._parts = parts
        self._programs = Programs(parts)
        loss = supervised_loss(
            self._programs.module,
            parts.augment,
            label_smoothing=parts.recipe.label_smoothing,
            **self._programs.shape,
        )
        self.stage = self._programs.stage(
            loss,
            self._programs.variable_shapes,
            num_steps=parts.num_steps,
            steps_per_epoch=parts.steps_per_epoch,
        )

    def train(self, run: int, stop: threading.Event) -> RunResult | None:
        """Trains run number `run`, or goes on training; what it makes is in `output/run-<run>`.

        Returns:
          The result, also of a run that had ended before; None if `stop` was set.

        Raises:
          UserError: training diverged, weights do not fit, all checkpoints are damaged, disk full.
        """
        parts, output = self._parts, TrainingOutput(self._parts, self._programs, run)
        if (result := output.result()) is not None:
            return result
        with contextlib.closing(output.best(output.directory)) as best:
            fitted = output.fit(
                output.directory,
                self.stage.first_state(self._programs.first_variables(output.seed), None),
                self.stage.of(random_key.key(output.seed)),
                functools.partial(self._batches, output.seed),
                validate=best.validate,
                num_steps=parts.num_steps,
                batch_size=parts.recipe.batch_size,
                steps_per_epoch=parts.steps_per_epoch,
                stop=stop,
                notes=notes_of(parts, "supervised"),
            )
            return output.conclude(fitted, best, output.directory) if fitted.finished else None

    def _batches(self, seed: int, start_step: int) -> Generator[Labelled, None, None]:
        parts = self._parts
        stream = training_stream(
            parts,
            parts.real,
            parts.synthetic,
            seed=seed,
            batch_size=parts.recipe.batch_size,
            start_step=start_step,
            num_steps=parts.num_steps,
        )
        with contextlib.closing(stream):
            for batch in stream:
                rows = Labelled(batch.images, batch.labels)
                yield devices.global_rows(self._programs.mesh, rows)

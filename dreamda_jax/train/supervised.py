"""Supervised training from its seed to its accuracy."""

import contextlib
import functools
import threading
from collections.abc import Generator

import jax

from dreamda_jax.runtime import devices as meshes
from dreamda_jax.train import supervised_loss as supervised
from dreamda_jax.train.build import Training
from dreamda_jax.train.output import TrainingOutput, training_stream
from dreamda_jax.train.programs import Programs
from dreamda_jax.train.summary import RunResult


class SupervisedTraining:
    """Cross-entropy on the labels there are; compiled once for all its runs.

    Args:
      parts: the checked configuration.
    """

    def __init__(self, parts: Training) -> None:
        self._parts = parts
        self._programs = Programs(parts)
        loss = supervised.supervised_loss(
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
                self.stage.of(jax.random.key(output.seed)),
                functools.partial(self._batches, output.seed),
                validate=best.validate,
                num_steps=parts.num_steps,
                batch_size=parts.recipe.batch_size,
                steps_per_epoch=parts.steps_per_epoch,
                stop=stop,
            )
            return output.conclude(fitted, best, output.directory) if fitted.finished else None

    def _batches(self, seed: int, start_step: int) -> Generator[supervised.Labelled, None, None]:
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
                rows = supervised.Labelled(batch.images, batch.labels)
                yield meshes.global_rows(self._programs.mesh, rows)

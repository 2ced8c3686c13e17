"""SoftMatch, and FixMatch as its plain rival: labelled images and an unlabelled set."""

import contextlib
import functools
import threading
from collections.abc import Generator

import numpy as np

from dreamda_jax.algorithms import random_key
from dreamda_jax.algorithms.selftrain.semi_supervised import Batch
from dreamda_jax.data import sources
from dreamda_jax.data.sources.subset import draw_labelled
from dreamda_jax.runtime import devices
from dreamda_jax.train.build import Training
from dreamda_jax.train.output import TrainingOutput, training_stream
from dreamda_jax.train.programs import notes_of
from dreamda_jax.train.self_training_programs import SelfTrainingPrograms, classifier_of
from dreamda_jax.train.summary import RunResult

_UNLABELLED_STREAM = 2**32  # its order is another than the labelled images'


class SoftMatchTraining:
    """Cross-entropy on labelled images, consistency on unlabelled ones; compiled once for all runs.

    Args:
      parts: the checked configuration.
    """

    def __init__(self, parts: Training) -> None:
        assert parts.self_training is not None
        assert parts.real is not None
        self._parts = parts
        self._of = parts.self_training
        self._programs = SelfTrainingPrograms(parts)
        self._one_hot = np.eye(len(parts.label_names), dtype=np.float32)

    def train(self, run: int, stop: threading.Event) -> RunResult | None:
        """Trains run number `run`, or goes on training; what it makes is in `output/run-<run>`.

        Returns:
          The result, also of a run that had ended before; None if `stop` was set.

        Raises:
          UserError: labelled images cannot be drawn, training diverged, weights do not fit, all
            checkpoints are damaged, disk full.
        """
        parts, programs, ratio = self._parts, self._programs, self._of.softmatch.unlabelled_ratio
        output = TrainingOutput(parts, programs, run, classifier_of=classifier_of)
        if (result := output.result()) is not None:
            return result
        labelled = self._labelled(output.seed)
        stage = programs.main_stage(with_heads=False, with_unlabelled=True)
        variables = programs.without_heads(programs.first_variables(output.seed))
        with contextlib.closing(output.best(output.directory)) as best:
            fitted = output.fit(
                output.directory,
                stage.first_state(variables, programs.confidence()),
                stage.of(random_key.key(output.seed)),
                functools.partial(self._batches, labelled, output.seed),
                validate=best.validate,
                num_steps=parts.num_steps,
                batch_size=parts.recipe.batch_size * (1 + ratio),
                steps_per_epoch=parts.steps_per_epoch,
                stop=stop,
                notes=notes_of(parts, "softmatch"),
            )
            return output.conclude(fitted, best, output.directory) if fitted.finished else None

    def _labelled(self, seed: int) -> sources.Source:
        assert self._parts.real is not None
        if not self._of.softmatch.num_labels:
            return self._parts.real
        return draw_labelled(self._parts.real, self._of.softmatch.num_labels, seed=seed)

    def _batches(
        self, labelled: sources.Source, seed: int, start_step: int
    ) -> Generator[Batch, None, None]:
        parts = self._parts
        size, ratio = parts.recipe.batch_size, self._of.softmatch.unlabelled_ratio
        stream = functools.partial(
            training_stream, parts, start_step=start_step, num_steps=parts.num_steps
        )
        with (
            contextlib.closing(stream(labelled, None, seed=seed, batch_size=size)) as first,
            contextlib.closing(
                stream(
                    self._of.unlabelled,
                    None,
                    seed=seed + _UNLABELLED_STREAM,
                    batch_size=size * ratio,
                )
            ) as second,
        ):
            for batch, without in zip(first, second, strict=True):
                rows = Batch(batch.images, self._one_hot[batch.labels], without.images)
                yield devices.global_rows(self._programs.mesh, rows)

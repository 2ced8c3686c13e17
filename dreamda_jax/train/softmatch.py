"""SoftMatch, and FixMatch as its plain rival: labelled images and an unlabelled set."""

import contextlib
import functools
import threading
from collections.abc import Generator

import jax
import numpy as np

from dreamda_jax.algorithms import random_key
from dreamda_jax.algorithms.selftrain.options import Consistency
from dreamda_jax.algorithms.selftrain.semi_supervised import Batch, semi_supervised_loss
from dreamda_jax.data import sources
from dreamda_jax.data.sources.subset import draw_labelled
from dreamda_jax.options.training import Recipe
from dreamda_jax.runtime import devices
from dreamda_jax.train.network import NetworkSpec
from dreamda_jax.train.output import TrainingOutput, training_stream
from dreamda_jax.train.programs import Stage
from dreamda_jax.train.self_training_programs import (
    SelfTrainingPrograms,
    Views,
    classifier_of,
)
from dreamda_jax.train.setups import Length, SoftMatchSetup
from dreamda_jax.train.summary import RunResult

_UNLABELLED_STREAM = 2**32  # its order is another than the labelled images'


class SoftMatchPrograms(SelfTrainingPrograms):
    """The compiled functions of SoftMatch over all devices of a mesh.

    Args:
      network: the classifier.
      recipe: of its optimizer.
      mesh: of the job, or of devices that are only compiled for.
      views: of an image.
      unlabelled_ratio: images without a label in a step, for each one with.
      consistency: the loss of images without a label.
      length: of the training.
    """

    def __init__(
        self,
        network: NetworkSpec,
        recipe: Recipe,
        mesh: jax.sharding.Mesh,
        *,
        views: Views,
        unlabelled_ratio: int,
        consistency: Consistency,
        length: Length,
    ) -> None:
        super().__init__(network, recipe, mesh, views=views, unlabelled_ratio=unlabelled_ratio)
        self._consistency, self._length = consistency, length

    @classmethod
    def of(cls, setup: SoftMatchSetup, mesh: jax.sharding.Mesh) -> "SoftMatchPrograms":
        """Those of a setup."""
        return cls(
            setup.network,
            setup.recipe,
            mesh,
            views=Views(setup.augment, setup.strong),
            unlabelled_ratio=setup.softmatch.unlabelled_ratio,
            consistency=setup.consistency,
            length=setup.length,
        )

    @functools.cached_property
    def main_stage(self) -> Stage:
        """The only one."""
        shapes = jax.eval_shape(self.with_auxiliary, self.variable_shapes)
        loss = semi_supervised_loss(self.in_training, self._consistency)
        return self.stage(loss, shapes, length=self._length)


class SoftMatchTraining:
    """Cross-entropy on labelled images, consistency on unlabelled ones; compiled once for all runs.

    Args:
      setup: of the training.
      programs: made for it.
    """

    def __init__(self, setup: SoftMatchSetup, programs: SoftMatchPrograms) -> None:
        self._setup = setup
        self._programs = programs
        self._one_hot = np.eye(len(setup.network.label_names), dtype=np.float32)

    def train(self, run: int, stop: threading.Event) -> RunResult | None:
        """Trains run number `run`, or goes on training; what it makes is in `output/run-<run>`.

        Returns:
          The result, also of a run that had ended before; None if `stop` was set.

        Raises:
          UserError: labelled images cannot be drawn, training diverged, weights do not fit, all
            checkpoints are damaged, disk full.
        """
        setup, programs, ratio = self._setup, self._programs, self._setup.softmatch.unlabelled_ratio
        output = TrainingOutput(
            run,
            job=setup.job,
            held_out=setup.held_out,
            reading=setup.reading,
            programs=programs,
            classifier_of=classifier_of,
        )
        if (result := output.result()) is not None:
            return result
        labelled = self._labelled(output.seed)
        start = programs.main_start(programs.first_variables(output.seed))
        with contextlib.closing(output.best(output.directory)) as best:
            fitted = output.fit(
                output.directory,
                programs.main_stage.first_state(*start),
                programs.main_stage.of(random_key.key(output.seed)),
                functools.partial(self._batches, labelled, output.seed),
                validate=best.validate,
                num_steps=setup.length.num_steps,
                batch_size=setup.length.batch_size * (1 + ratio),
                steps_per_epoch=setup.length.steps_per_epoch,
                stop=stop,
                notes=setup.notes_of("softmatch"),
            )
            return output.conclude(fitted, best, output.directory) if fitted.finished else None

    def _labelled(self, seed: int) -> sources.Source:
        setup = self._setup
        if not setup.softmatch.num_labels:
            return setup.real
        return draw_labelled(setup.real, setup.softmatch.num_labels, seed=seed)

    def _batches(
        self, labelled: sources.Source, seed: int, start_step: int
    ) -> Generator[Batch, None, None]:
        setup, ratio = self._setup, self._setup.softmatch.unlabelled_ratio
        size = setup.length.batch_size
        stream = functools.partial(
            training_stream,
            setup.reading,
            start_step=start_step,
            num_steps=setup.length.num_steps,
        )
        with (
            contextlib.closing(stream(labelled, None, seed=seed, batch_size=size)) as first,
            contextlib.closing(
                stream(
                    setup.unlabelled,
                    None,
                    seed=seed + _UNLABELLED_STREAM,
                    batch_size=size * ratio,
                )
            ) as second,
        ):
            for batch, without in zip(first, second, strict=True):
                rows = Batch(batch.images, self._one_hot[batch.labels], without.images)
                yield devices.global_rows(self._programs.mesh, rows)

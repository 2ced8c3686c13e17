"""What every run of a classifier's training measures and leaves, whatever its method."""

import contextlib
import functools
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dreamda_jax.algorithms.metrics import accuracy
from dreamda_jax.data import sources
from dreamda_jax.data.evaluation_stream import EvaluationBatch
from dreamda_jax.data.files import atomic, json_text, staging
from dreamda_jax.data.training_stream import Batch, training_batches
from dreamda_jax.errors import UserError
from dreamda_jax.models.classifiers import pretrained
from dreamda_jax.options.training import Train
from dreamda_jax.runtime import devices as meshes
from dreamda_jax.runtime import log as training_log
from dreamda_jax.runtime import loop
from dreamda_jax.runtime.fit import fit
from dreamda_jax.runtime.heartbeat import waiting
from dreamda_jax.runtime.sweep import View
from dreamda_jax.train import accuracy as evaluation
from dreamda_jax.train import plots
from dreamda_jax.train.best import Best
from dreamda_jax.train.held_out import HeldOut
from dreamda_jax.train.programs import Programs
from dreamda_jax.train.setups import Reading
from dreamda_jax.train.summary import RunResult
from dreamda_jax.types import Params

_EVALUATION_BATCH = 256
RESULT = "result.json"
"""What a run leaves last, in its directory."""


class TrainingOutput:
    """One run's directory, and the sets it is measured on.

    Args:
      run: from 0; the directory is `output/run-<run>`, the seed `job.seed + run`.
      job: section "train".
      held_out: images that accuracy is measured on.
      reading: how they are read.
      programs: of the classifier.
      classifier_of: from the variables of a training's state to the classifier's own.
    """

    def __init__(
        self,
        run: int,
        *,
        job: Train,
        held_out: HeldOut,
        reading: Reading,
        programs: Programs,
        classifier_of: Callable[[Params], Params] = lambda variables: variables,
    ) -> None:
        self.directory = staging.local(job.output) / f"run-{run}"
        self.seed = job.seed + run
        self._job = job
        self._held_out = held_out
        self._reading = reading
        self._programs = programs
        self._classifier_of = classifier_of
        self._broken: set[str] = set()
        self._started = time.monotonic()

    def result(self) -> RunResult | None:
        """Of a run that ended before."""
        file = self.directory / RESULT
        if not file.exists():
            return None
        content = json_text.parse(file.read_bytes())
        # The matrix says it of runs that an older version ended, too.
        sole = _sole_class(np.array(content["confusion"]), content["label_names"])
        return RunResult(**{**content["result"], "only_class": sole})

    def best(self, directory: Path) -> Best:
        """Where the best weights of a training, or of a stage of it, are kept."""
        return Best(directory, self.measure())

    def measure(
        self, step: evaluation.EvaluateStep | None = None
    ) -> Callable[[Params], float] | None:
        """What gives the accuracy of variables on the validation set, in [0, 1].

        Args:
          step: measures the variables of a training's state as they are; default: the classifier
            among them.

        Returns:
          None without a validation set.
        """
        source = self._held_out.validation
        if source is None:
            return None
        return lambda variables: accuracy.top1(self._confusion(variables, source, step))

    @property
    def fit(self) -> Callable[..., loop.Fitted]:
        """`runtime.fit.fit`, told what the job says of logs and checkpoints."""
        return functools.partial(
            fit, log_every=self._job.log_every, checkpoint_every=self._job.checkpoint_every
        )

    def conclude(self, fitted: loop.Fitted, best: Best, training_directory: Path) -> RunResult:
        """Measures the last and the best weights, and writes what a finished run leaves.

        Args:
          fitted: the training, or its last stage.
          best: of the same.
          training_directory: with its log.
        """
        with waiting("measuring the accuracy of the last and the best weights"):
            return self._conclude(fitted, best, training_directory)

    def _conclude(self, fitted: loop.Fitted, best: Best, training_directory: Path) -> RunResult:
        last = fitted.state.variables
        name, measured_on = self._held_out.measured_on
        confusion = self._confusion(last, measured_on)
        chosen = best.restore(last) if name == "test" else None
        result = RunResult(
            seed=self.seed,
            test_accuracy=accuracy.top1(confusion),
            best_test_accuracy=(
                accuracy.top1(self._confusion(chosen[1], measured_on)) if chosen else None
            ),
            best_step=chosen[0] if chosen else None,
            train_loss=fitted.loss,
            images_per_second=fitted.images / fitted.seconds if fitted.seconds else 0.0,
            seconds=time.monotonic() - self._started,
            only_class=_sole_class(confusion, self._programs.network.label_names),
        )
        exported = {"classifier": last, **({"classifier_best": chosen[1]} if chosen else {})}
        on_host = {
            name: meshes.to_host(self._classifier_of(variables))
            for name, variables in exported.items()
        }
        if meshes.process_index() == 0:
            self._write(result, confusion, on_host, training_directory)
        return result

    def _confusion(
        self,
        variables: Params,
        source: sources.Source,
        step: evaluation.EvaluateStep | None = None,
    ) -> np.ndarray:
        batches = whole_set_view(self._reading, source).batches(source)
        measured = variables if step else self._classifier_of(variables)
        with contextlib.closing(batches):
            confusion = self._programs.confusion(measured, self._report(batches), step=step)
        if not confusion.sum():
            raise UserError(f"none of the {len(source):,} images of {source.name} can be decoded")
        return confusion

    def _report(self, batches: Iterable[EvaluationBatch]) -> Iterator[EvaluationBatch]:
        """The same batches; a broken image is named the first time it is met."""
        for batch in batches:
            for message in set(batch.broken) - self._broken:
                print(f"left out    {message}", flush=True)
            self._broken.update(batch.broken)
            yield batch

    def _write(
        self,
        result: RunResult,
        confusion: np.ndarray,
        exported: dict[str, Params],
        training_directory: Path,
    ) -> None:
        network = self._programs.network
        names = list(network.label_names)
        for name, variables in exported.items():
            pretrained.save(
                network.architecture,
                variables,
                self.directory / name,
                label_names=names,
                image_size=network.image_size,
                stem=network.options.stem,
            )
        plots.confusion_picture(confusion, names, self.directory / "confusion.png")
        plots.per_class_picture(confusion, names, self.directory / "per_class.png")
        log = training_log.read_log(training_directory)
        plots.curves_picture(log, self.directory / "curves.png")
        content: dict[str, Any] = {
            "result": result._asdict(),
            "label_names": names,
            "confusion": confusion.tolist(),
            "left_out": sorted(self._broken),
        }
        atomic.write_atomically(self.directory / RESULT, atomic.to_json(content))


def _sole_class(confusion: np.ndarray, names: Sequence[str]) -> str | None:
    sole = accuracy.sole_prediction(confusion)
    return None if sole is None else names[sole]


def whole_set_view(
    reading: Reading, source: sources.Source, *, resolution: int | None = None
) -> View:
    """How every image of a set is read, in batches that all devices share.

    Args:
      reading: how images are read in training.
      source: the set.
      resolution: side in pixels; None: the canvas.
    """
    devices = meshes.device_count()
    return View(
        resolution=resolution or reading.canvas,
        crop=reading.crop,
        batch_size=-(-min(_EVALUATION_BATCH, len(source)) // devices) * devices,
        num_workers=reading.num_workers,
    )


def training_stream(
    reading: Reading,
    real: sources.Source | None,
    synthetic: sources.Source | None,
    *,
    synthetic_ratio: float | None = None,
    seed: int,
    batch_size: int,
    start_step: int,
    num_steps: int,
) -> Generator[Batch, None, None]:
    """The rows of the batches to come that belong to this host.

    An image that cannot be decoded is named when it is first replaced.

    Args:
      reading: how images are read.
      real: the real images, or None; likewise `synthetic`.
      synthetic: the synthetic images.
      synthetic_ratio: share of synthetic images where there are both; see `training_batches`.
      seed: decides the order.
      batch_size: over all hosts.
      start_step: the first step to read.
      num_steps: of the whole training.
    """
    stream = training_batches(
        real,
        synthetic,
        synthetic_ratio=synthetic_ratio if real and synthetic else None,
        batch_size=batch_size,
        seed=seed,
        start_step=start_step,
        num_steps=num_steps,
        resolution=reading.canvas,
        crop=reading.crop,
        num_workers=reading.num_workers,
        host_index=meshes.process_index(),
        host_count=meshes.process_count(),
    )
    with contextlib.closing(stream):
        for batch in stream:
            for message in batch.replaced:
                print(f"replaced    {message}", flush=True)
            yield batch

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
from dreamda_jax.runtime import devices as meshes
from dreamda_jax.runtime import log as training_log
from dreamda_jax.runtime import loop
from dreamda_jax.runtime.fit import fit
from dreamda_jax.runtime.heartbeat import waiting
from dreamda_jax.runtime.sweep import View
from dreamda_jax.train import accuracy as evaluation
from dreamda_jax.train import plots
from dreamda_jax.train.best import Best
from dreamda_jax.train.build import Training
from dreamda_jax.train.programs import Programs
from dreamda_jax.train.summary import RunResult
from dreamda_jax.types import Params

_EVALUATION_BATCH = 256
RESULT = "result.json"
"""What a run leaves last, in its directory."""


class TrainingOutput:
    """One run's directory, and the sets it is measured on.

    Args:
      parts: the checked configuration.
      programs: compiled for it.
      run: from 0; the directory is `output/run-<run>`, the seed `parts.job.seed + run`.
      classifier_of: from the variables of a training's state to the classifier's own.
    """

    def __init__(
        self,
        parts: Training,
        programs: Programs,
        run: int,
        *,
        classifier_of: Callable[[Params], Params] = lambda variables: variables,
    ) -> None:
        self.directory = staging.local(parts.job.output) / f"run-{run}"
        self.seed = parts.job.seed + run
        self._parts = parts
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
        return Best(directory, self.validate if self._parts.validation else None)

    def validate(self, variables: Params, *, step: evaluation.EvaluateStep | None = None) -> float:
        """Accuracy on the validation set, in [0, 1].

        Args:
          variables: of a training's state.
          step: measures them as they are; default: the classifier among them.
        """
        assert self._parts.validation is not None
        return accuracy.top1(self._confusion(variables, self._parts.validation, step))

    @property
    def fit(self) -> Callable[..., loop.Fitted]:
        """`runtime.fit.fit`, told what the job says of logs and checkpoints."""
        job = self._parts.job
        return functools.partial(
            fit, log_every=job.log_every, checkpoint_every=self._parts.checkpoint_every
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
        parts, last = self._parts, fitted.state.variables
        measured_on = parts.test or parts.validation
        assert measured_on is not None
        confusion = self._confusion(last, measured_on)
        chosen = best.restore(last) if parts.test and parts.validation else None
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
            only_class=_sole_class(confusion, parts.label_names),
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
        batches = whole_set_view(self._parts, source).batches(source)
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
        parts, names = self._parts, list(self._parts.label_names)
        for name, variables in exported.items():
            pretrained.save(
                parts.architecture,
                variables,
                self.directory / name,
                label_names=names,
                image_size=parts.image_size,
                stem=parts.classifier.stem,
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
    parts: Training, source: sources.Source, *, resolution: int | None = None
) -> View:
    """How every image of a set is read, in batches that all devices share.

    Args:
      parts: the checked configuration.
      source: the set.
      resolution: side in pixels; None: the canvas of the classifier.
    """
    devices = meshes.device_count()
    return View(
        resolution=resolution or parts.canvas,
        crop=parts.classifier.crop,
        batch_size=-(-min(_EVALUATION_BATCH, len(source)) // devices) * devices,
        num_workers=parts.loader.num_workers,
    )


def training_stream(
    parts: Training,
    real: sources.Source | None,
    synthetic: sources.Source | None,
    *,
    seed: int,
    batch_size: int,
    start_step: int,
    num_steps: int,
) -> Generator[Batch, None, None]:
    """The rows of the batches to come that belong to this host, as `parts` has images read.

    An image that cannot be decoded is named when it is first replaced.
    """
    stream = training_batches(
        real,
        synthetic,
        synthetic_ratio=parts.data.synthetic_ratio if real and synthetic else None,
        batch_size=batch_size,
        seed=seed,
        start_step=start_step,
        num_steps=num_steps,
        resolution=parts.canvas,
        crop=parts.classifier.crop,
        num_workers=parts.loader.num_workers,
        host_index=meshes.process_index(),
        host_count=meshes.process_count(),
    )
    with contextlib.closing(stream):
        for batch in stream:
            for message in batch.replaced:
                print(f"replaced    {message}", flush=True)
            yield batch

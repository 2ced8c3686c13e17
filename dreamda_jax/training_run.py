"""One training from its seed to its accuracy: data, state, loop, checkpoints and what is left."""

import contextlib
import json
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dreamda_jax import mesh as meshes
from dreamda_jax.build_training import Training
from dreamda_jax.checkpoint import Checkpoints
from dreamda_jax.data import atomic, sources
from dreamda_jax.data.evaluation_stream import EvaluationBatch, evaluation_batches
from dreamda_jax.data.training_stream import training_batches
from dreamda_jax.errors import UserError
from dreamda_jax.metrics import accuracy
from dreamda_jax.models.classifiers import pretrained
from dreamda_jax.report import classification_plots, training_log
from dreamda_jax.report.progress import Progress
from dreamda_jax.report.training_summary import RunResult
from dreamda_jax.training import loop, supervised
from dreamda_jax.training.best import Best
from dreamda_jax.training_programs import Programs
from dreamda_jax.types import Params

_EVALUATION_BATCH = 256


class TrainingRun:
    """Run number `run` of a training; what it makes is in `output/run-<run>`.

    Args:
      parts: the checked configuration.
      programs: compiled for it.
      run: from 0; the seed is `parts.job.seed + run`.
    """

    def __init__(self, parts: Training, programs: Programs, run: int) -> None:
        self.directory = Path(parts.job.output) / f"run-{run}"
        self._parts = parts
        self._programs = programs
        self._seed = parts.job.seed + run
        self._broken: set[str] = set()

    def train(self, stop: threading.Event) -> RunResult | None:
        """Trains, or goes on training.

        Returns:
          The result, also of a run that had ended before; None if `stop` was set.

        Raises:
          UserError: training diverged, weights do not fit, all checkpoints are damaged, disk full.
        """
        result_file = self.directory / "result.json"
        if result_file.exists():
            return RunResult(**json.loads(result_file.read_bytes())["result"])
        started = time.monotonic()
        parts = self._parts
        state = self._programs.first_state(self._seed)
        with contextlib.ExitStack() as stack:
            checkpoints = stack.enter_context(
                contextlib.closing(Checkpoints(self.directory / "checkpoints"))
            )
            restored = checkpoints.restore(state)
            if restored is not None:
                state = restored[1]
            step, batch_size = int(state.step), parts.recipe.batch_size
            if step:
                print(f"continuing  from step {step:,} of {parts.num_steps:,}", flush=True)
            log = stack.enter_context(training_log.TrainingLog(self.directory, resume_step=step))
            validate = self._validate if parts.validation else None
            best = stack.enter_context(contextlib.closing(Best(self.directory, validate)))
            progress = stack.enter_context(
                contextlib.closing(Progress(parts.num_steps * batch_size, done=step * batch_size))
            )
            batches = stack.enter_context(contextlib.closing(self._batches(step)))
            fitted = loop.Loop(
                step=self._programs.step(self._seed),
                num_steps=parts.num_steps,
                batch_size=batch_size,
                steps_per_epoch=parts.steps_per_epoch,
                log_every=parts.job.log_every,
                checkpoint_every=parts.checkpoint_every,
                validate=best.validate,
                log=log,
                progress=progress,
                checkpoints=checkpoints,
                stop=stop,
            ).run(state, batches)
            if not fitted.finished:
                return None
            return self._conclude(fitted, best, started)

    def _batches(self, start_step: int) -> Generator[supervised.Labelled, None, None]:
        """The batches of the steps to come, on the devices."""
        parts = self._parts
        stream = training_batches(
            parts.real,
            parts.synthetic,
            synthetic_ratio=parts.data.synthetic_ratio,
            batch_size=parts.recipe.batch_size,
            seed=self._seed,
            start_step=start_step,
            num_steps=parts.num_steps,
            resolution=parts.canvas,
            crop=parts.classifier.crop,
            num_workers=parts.loader.num_workers,
            **_host(),
        )
        with contextlib.closing(stream):
            for batch in stream:
                for message in batch.replaced:
                    print(f"replaced    {message}", flush=True)
                rows = supervised.Labelled(batch.images, batch.labels)
                yield meshes.global_rows(self._programs.mesh, rows)

    def _confusion(self, variables: Params, source: sources.Source) -> np.ndarray:
        parts, devices = self._parts, meshes.device_count()
        rows = -(-min(_EVALUATION_BATCH, len(source)) // devices)
        batches = evaluation_batches(
            source,
            batch_size=rows * devices,
            resolution=parts.canvas,
            crop=parts.classifier.crop,
            num_workers=parts.loader.num_workers,
            **_host(),
        )
        with contextlib.closing(batches):
            confusion = self._programs.confusion(variables, self._report(batches))
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

    def _validate(self, variables: Params) -> float:
        assert self._parts.validation is not None
        return accuracy.top1(self._confusion(variables, self._parts.validation))

    def _conclude(self, fitted: loop.Fitted, best: Best, started: float) -> RunResult:
        """Measures the last and the best weights, and writes what a finished run leaves."""
        parts, last = self._parts, fitted.state.variables
        measured_on = parts.test or parts.validation
        assert measured_on is not None
        confusion = self._confusion(last, measured_on)
        chosen = best.restore(last) if parts.test and parts.validation else None
        result = RunResult(
            seed=self._seed,
            test_accuracy=accuracy.top1(confusion),
            best_test_accuracy=(
                accuracy.top1(self._confusion(chosen[1], measured_on)) if chosen else None
            ),
            best_step=chosen[0] if chosen else None,
            train_loss=fitted.loss,
            images_per_second=fitted.images / fitted.seconds if fitted.seconds else 0.0,
            seconds=time.monotonic() - started,
        )
        exported = {"classifier": last, **({"classifier_best": chosen[1]} if chosen else {})}
        on_host = {name: meshes.to_host(variables) for name, variables in exported.items()}
        if meshes.process_index() == 0:
            self._write(result, confusion, on_host)
        return result

    def _write(self, result: RunResult, confusion: np.ndarray, exported: dict[str, Params]) -> None:
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
        classification_plots.confusion_picture(confusion, names, self.directory / "confusion.png")
        classification_plots.per_class_picture(confusion, names, self.directory / "per_class.png")
        log = training_log.read_log(self.directory)
        classification_plots.curves_picture(log, self.directory / "curves.png")
        content: dict[str, Any] = {
            "result": result._asdict(),
            "label_names": names,
            "confusion": confusion.tolist(),
            "left_out": sorted(self._broken),
        }
        atomic.write_atomically(self.directory / "result.json", atomic.to_json(content))


def _host() -> dict[str, int]:
    return {"host_index": meshes.process_index(), "host_count": meshes.process_count()}

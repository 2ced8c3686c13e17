"""The loop around a training step: logging, checkpoints, validation, stopping, divergence."""

import collections
import dataclasses
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from dreamda_jax.errors import UserError
from dreamda_jax.runtime import program_notes
from dreamda_jax.runtime.checkpoint import Checkpoints
from dreamda_jax.runtime.heartbeat import Compiling, waiting
from dreamda_jax.runtime.log import NoLog, TrainingLog
from dreamda_jax.runtime.progress import Progress
from dreamda_jax.runtime.state import TrainState

Step = Callable[[TrainState, Any], tuple[TrainState, dict[str, jax.Array]]]


class Diverged(UserError):
    """The loss or its gradient is no longer a number."""


class Fitted(NamedTuple):
    """How a training went.

    Attributes:
      state: after the last step made.
      finished: False if it was asked to stop before its last step.
      loss: mean over the last steps that were logged together; NaN if no step was made.
      seconds: of training in this process, without the first steps (compilation) and validation.
      images: of those seconds.
    """

    state: TrainState
    finished: bool
    loss: float
    seconds: float
    images: int


@dataclasses.dataclass
class Loop:
    """A training method's step, and what surrounds it.

    Attributes:
      step: `step(state, batch) -> (state, metrics)`, compiled.
      num_steps: of the whole training.
      batch_size: images that a step sees, for progress.
      steps_per_epoch: for the log.
      log_every: steps between two lines of the log; a line holds the metrics of that very step, so
        an interrupted training writes the same lines as one that was not.
      checkpoint_every: steps between two checkpoints.
      validate_every: steps between two validations.
      validate: `validate(state)` gives metrics to log; called before the checkpoint of its step.
      describe: of the means of metrics over the last steps, what the progress shows.
      advice: what to do about a training that diverges.
      log: where metrics go.
      progress: what a person sees.
      checkpoints: where states go.
      stop: when set, the state is saved and the loop ends.
      notes: of the step's program; they are told how long a step took, with its share of
        validations and checkpoints.
    """

    step: Step
    num_steps: int
    batch_size: int
    steps_per_epoch: float
    log_every: int
    checkpoint_every: int
    validate_every: int
    validate: Callable[[TrainState], dict[str, float]]
    describe: Callable[[dict[str, float]], str]
    advice: str
    log: TrainingLog | NoLog
    progress: Progress
    checkpoints: Checkpoints
    stop: threading.Event
    notes: program_notes.ProgramNotes = program_notes.NONE

    def __post_init__(self) -> None:
        self._pending: collections.deque = collections.deque()  # (step, metrics on the device)
        self._saved = 0
        self._loss = math.nan
        self._seconds, self._images = 0.0, 0
        self._since: float | None = None
        self._first: tuple[int, float] | None = None  # step and time after the first portion

    def run(self, state: TrainState, batches: Iterator[Any]) -> Fitted:
        """Trains from where `state` stands to the last step.

        Args:
          state: new, or from a checkpoint.
          batches: of the steps to come, as arrays over the mesh.

        Raises:
          Diverged: the loss or the gradient of a step is NaN or infinite; no checkpoint of that
            step or a later one is written.
        """
        first = self._saved = int(state.step)
        compiling = Compiling("the training step", self.notes)
        for done in range(first + 1, self.num_steps + 1):
            if self.stop.is_set():
                break
            batch = next(batches)
            with compiling():
                state, metrics = self.step(state, batch)
            self._pending.append((done, metrics))
            at_validation, at_checkpoint = (
                done % every == 0 or done == self.num_steps
                for every in (self.validate_every, self.checkpoint_every)
            )
            if at_validation or at_checkpoint:
                self._drain(0)
                self._pause(state, done, validate=at_validation, save=at_checkpoint)
            elif len(self._pending) >= 2 * self.log_every:
                # One portion stays behind: the host would else wait, and the devices for it.
                self._drain(self.log_every)
        self._drain(0)
        step = int(state.step)
        if step > self._saved:  # stopped between two checkpoints
            self.checkpoints.save(step, state)
        self.checkpoints.wait()
        if self._first is not None and step > self._first[0]:
            seconds = time.monotonic() - self._first[1]
            self.notes.put(seconds_each=seconds / (step - self._first[0]))
        return Fitted(state, step >= self.num_steps, self._loss, self._seconds, self._images)

    def _pause(self, state: TrainState, step: int, *, validate: bool, save: bool) -> None:
        started = time.monotonic()
        with waiting("measuring on the validation set"):
            metrics = self.validate(state) if validate else {}
        if metrics:
            self.log.write(step, {"epoch": step / self.steps_per_epoch, **metrics})
        if save:
            self.checkpoints.save(step, state)
            self._saved = step
        if self._since is not None:  # the speed is that of training
            self._since += time.monotonic() - started

    def _drain(self, keep: int) -> None:
        """Fetches the metrics of all steps but the last `keep`, checks and logs them."""
        count = len(self._pending) - keep
        if count <= 0:
            return
        fetched = [self._pending.popleft() for _ in range(count)]
        values = jax.device_get([metrics for _, metrics in fetched])
        for (step, _), metrics in zip(fetched, values, strict=True):
            finite = all(math.isfinite(metrics[name]) for name in ("loss", "gradient_norm"))
            if step % self.log_every == 0 or step == self.num_steps or not finite:
                numbers = {f"train/{name}": float(value) for name, value in metrics.items()}
                self.log.write(step, {"epoch": step / self.steps_per_epoch, **numbers})
            if not finite:
                raise self._diverged(step, metrics)
        means = {name: float(np.mean([row[name] for row in values])) for name in values[0]}
        self._loss = means["loss"]
        now = time.monotonic()
        if self._since is not None:  # the first portion holds the compilation
            self._seconds += now - self._since
            self._images += count * self.batch_size
        self._since = now
        self._first = self._first or (fetched[-1][0], now)
        self.progress.add(count * self.batch_size, note=self.describe(means))

    def _diverged(self, step: int, metrics: dict[str, Any]) -> Diverged:
        kept = (
            f"The last good checkpoint is that of step {self._saved}, and it stays."
            if self._saved
            else "No checkpoint had been made yet."
        )
        return Diverged(
            f"training diverged at step {step}: loss {float(metrics['loss']):g}, gradient norm "
            f"{float(metrics['gradient_norm']):g}, learning rate "
            f"{float(metrics['learning_rate']):g}. {kept} {self.advice}"
        )

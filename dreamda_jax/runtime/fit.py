"""A training, or a stage of one, in a directory of its own: begun or gone on with."""

import contextlib
import threading
from collections.abc import Callable, Generator
from pathlib import Path

from dreamda_jax.runtime import devices, forecast, loop, program_notes
from dreamda_jax.runtime import log as training_log
from dreamda_jax.runtime.checkpoint import Checkpoints
from dreamda_jax.runtime.progress import Progress
from dreamda_jax.runtime.state import TrainState

Log = training_log.TrainingLog | training_log.NoLog

ADVICE = (
    "Try a lower --config.train.learning_rate, a longer --config.train.warmup_epochs or "
    "--config.train.clip_norm=1, with another --config.train.output."
)


def describe_classifier(means: dict[str, float]) -> str:
    """Loss and accuracy, for the progress."""
    return f"loss {means['loss']:.3f}, accuracy {means['accuracy']:.1%}"


def _open_log(directory: Path, *, resume_step: int) -> Log:
    if devices.process_index():
        return training_log.NoLog()
    return training_log.TrainingLog(directory, resume_step=resume_step)


def fit(
    directory: Path,
    state: TrainState,
    step: loop.Step,
    batches: Callable[[int], Generator],
    *,
    validate: Callable[[TrainState], dict[str, float]],
    num_steps: int,
    batch_size: int,
    steps_per_epoch: float,
    log_every: int,
    checkpoint_every: int,
    stop: threading.Event,
    validate_every: int | None = None,
    describe: Callable[[dict[str, float]], str] = describe_classifier,
    advice: str = ADVICE,
    notes: program_notes.ProgramNotes = program_notes.NONE,
) -> loop.Fitted:
    """Trains from the last checkpoint in `directory`, or from `state` where there is none.

    Args:
      directory: holds checkpoints and the log.
      state: of step 0, placed on the devices; its structure is that of the checkpoints.
      step: compiled.
      batches: `batches(start_step)` are those of the steps from there on; closed at the end.
      validate: gives metrics to log.
      num_steps: of the whole training.
      batch_size: images that a step sees, for progress.
      steps_per_epoch: for the log.
      log_every: see `loop.Loop`; likewise the rest.
      checkpoint_every: steps between two checkpoints.
      stop: ends it after the step at hand, saved.
      validate_every: steps between two validations; default: as checkpoints.
      describe: what the progress shows; default: a classifier's loss and accuracy.
      advice: what to do about a training that diverges; default: a classifier's.
      notes: of the step's program.

    Raises:
      UserError: training diverged, all checkpoints are damaged, the disk is full.
    """
    with contextlib.ExitStack() as stack:
        checkpoints = stack.enter_context(
            contextlib.closing(Checkpoints(directory / "checkpoints"))
        )
        restored = checkpoints.restore(state)
        if restored is not None:
            state = restored[1]
        start = int(state.step)
        if 0 < start < num_steps:
            print(f"continuing  from step {start:,} of {num_steps:,}", flush=True)
        log = stack.enter_context(contextlib.closing(_open_log(directory, resume_step=start)))
        progress = stack.enter_context(
            contextlib.closing(
                Progress(
                    num_steps * batch_size,
                    done=start * batch_size,
                    hint_for_long=forecast.hint_for_long(),
                )
            )
        )
        fitted = loop.Loop(
            step=step,
            num_steps=num_steps,
            batch_size=batch_size,
            steps_per_epoch=steps_per_epoch,
            log_every=log_every,
            checkpoint_every=checkpoint_every,
            validate_every=validate_every or checkpoint_every,
            validate=validate,
            describe=describe,
            advice=advice,
            log=log,
            progress=progress,
            checkpoints=checkpoints,
            stop=stop,
            notes=notes,
        ).run(state, stack.enter_context(contextlib.closing(batches(start))))
    if not fitted.finished and int(fitted.state.step):
        print(f"saved       step {int(fitted.state.step):,} of {num_steps:,}", flush=True)
    return fitted

"""How long a training will take: by the notes of earlier runs, else by its operations."""

from collections.abc import Callable
from pathlib import Path

from dreamda_jax.runtime import devices, forecast, program_notes
from dreamda_jax.train.output import RESULT
from dreamda_jax.train.setups import Description


def time_of_training(
    described: Description,
    *,
    output: Path,
    num_runs: int,
    notes_of: Callable[[str], program_notes.ProgramNotes],
    forward_flops: float,
    dtype: str,
) -> forecast.Forecast | None:
    """Of all runs that have not ended; one that was interrupted counts whole.

    Args:
      described: the training.
      output: its directory.
      num_runs: in all.
      notes_of: of a stage, by its name.
      forward_flops: of the network on one image; training on it does about three times as much.
      dtype: of the computation.
    """
    left = sum(not (output / f"run-{run}" / RESULT).exists() for run in range(num_runs))
    # A run of several stages has no step that all of it is made of.
    ((_, first), *others) = described.stages
    per_run, unit = (1.0, "run") if others else (first, "step")
    seconds = 0.0
    for stage, count in described.stages:
        each = notes_of(stage).seconds_each
        if each is None:
            return forecast.from_operations(
                3 * forward_flops * described.num_views / per_run,
                unit=unit,
                count=per_run * left,
                dtype=dtype,
                num_devices=devices.device_count(),
            )
        seconds += each * count
    return forecast.from_last_run(seconds / per_run, unit=unit, count=per_run * left)

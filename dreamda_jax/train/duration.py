"""How long a training will take: by the notes of earlier runs, else by its operations."""

from dreamda_jax.data.files import staging
from dreamda_jax.runtime import devices, forecast
from dreamda_jax.train.build import Training
from dreamda_jax.train.methods import Description
from dreamda_jax.train.output import RESULT
from dreamda_jax.train.programs import notes_of


def time_of_training(
    parts: Training, described: Description, *, forward_flops: float
) -> forecast.Forecast | None:
    """Of all runs that have not ended; one that was interrupted counts whole.

    Args:
      parts: the checked configuration.
      described: its method.
      forward_flops: of the network on one image; training on it does about three times as much.
    """
    output = staging.local(parts.job.output)
    left = sum(not (output / f"run-{run}" / RESULT).exists() for run in range(parts.job.num_runs))
    # A run of several stages has no step that all of it is made of.
    ((_, first), *others) = described.stages
    per_run, unit = (1.0, "run") if others else (first, "step")
    seconds = 0.0
    for stage, count in described.stages:
        each = notes_of(parts, stage).seconds_each
        if each is None:
            return forecast.from_operations(
                3 * forward_flops * described.num_views / per_run,
                unit=unit,
                count=per_run * left,
                dtype=parts.classifier.dtype,
                num_devices=devices.device_count(),
            )
        seconds += each * count
    return forecast.from_last_run(seconds / per_run, unit=unit, count=per_run * left)

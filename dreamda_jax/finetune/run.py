"""A fine-tuning from the weights it starts from to the checkpoint it leaves."""

import contextlib
import functools
import threading
import time
from collections.abc import Generator
from pathlib import Path

import jax
import numpy as np

from dreamda_jax.algorithms import random_key
from dreamda_jax.data.files import atomic
from dreamda_jax.errors import UserError
from dreamda_jax.finetune import summary
from dreamda_jax.finetune.build import Finetuning
from dreamda_jax.finetune.inputs import finetuning_batches
from dreamda_jax.finetune.loss import Batch
from dreamda_jax.finetune.pictures import Pictures
from dreamda_jax.finetune.prepare import Prepared, frozen_parameters, prepare
from dreamda_jax.finetune.programs import Programs
from dreamda_jax.finetune.result import write_result
from dreamda_jax.models.stable_diffusion import checkpoint_files
from dreamda_jax.runtime import devices, forecast, program_notes
from dreamda_jax.runtime.fit import fit
from dreamda_jax.runtime.log import read_log
from dreamda_jax.runtime.loop import Diverged, Fitted
from dreamda_jax.types import Params

_IMAGES = "images.json"


def open_programs(parts: Finetuning) -> Programs:
    """The compiled functions of a job over all its devices.

    Raises:
      UserError: the number of devices is no multiple of `fsdp`.
    """
    mesh = devices.training_mesh(parts.job.fsdp or devices.device_count())
    return Programs(parts.model, parts.adaptation, parts.job, mesh)


def notes_of(parts: Finetuning) -> program_notes.ProgramNotes:
    """What earlier runs left word of the step, which takes as long at any learning rate."""
    names = ("method", "batch_size", "accumulation", "remat", "fsdp", "lora_rank", "num_vectors")
    depends_on = {
        "networks": checkpoint_files.config_digest(parts.files),
        "dtype": parts.checkpoint.dtype,
        "resolution": parts.view.resolution,
        "job": {name: getattr(parts.job, name) for name in names},
    }
    return program_notes.notes_of("finetune", depends_on)


def time_of_steps(parts: Finetuning, *, step_flops: float) -> forecast.Forecast | None:
    """How long the training will take, with its pictures; what an earlier run did counts again.

    Args:
      parts: the checked configuration.
      step_flops: of a step, with its share of the pictures.
    """
    each, count = notes_of(parts).seconds_each, parts.job.num_steps
    if each is not None:
        return forecast.from_last_run(each, unit="step", count=count)
    return forecast.from_operations(
        step_flops,
        unit="step",
        count=count,
        dtype=parts.checkpoint.dtype,
        num_devices=devices.device_count(),
    )


def finetune(parts: Finetuning, programs: Programs, stop: threading.Event) -> str | None:
    """Trains, or goes on training, and writes the result.

    Args:
      parts: the checked configuration.
      programs: compiled for it.
      stop: ends it after the step at hand, saved.

    Returns:
      The closing lines; None if `stop` was set before the last step.

    Raises:
      UserError: training diverged, images or weights are missing or damaged, the disk is full.
    """
    job, started = parts.job, time.monotonic()
    prepared = prepare(parts, programs.mesh, stop)
    if prepared is None:
        return None
    _refuse_changed_images(parts.output, prepared.latents.digest)
    state = programs.first_state(prepared.start)
    frozen = frozen_parameters(parts, prepared)
    pictures = Pictures(parts, programs, prepared, frozen)
    if not pictures.file(0).exists():
        pictures.draw(state)
    for name in set(prepared.start) - set(frozen):
        del prepared.start[name]  # the state holds a copy, and it is large
    step = functools.partial(programs.step, frozen, random_key.key(job.seed))
    batches = functools.partial(_batches, parts, programs, prepared)
    fitted = fit(
        parts.output,
        state,
        step,
        batches,
        validate=pictures.draw,
        num_steps=job.num_steps,
        batch_size=job.batch_size,
        steps_per_epoch=len(prepared.latents.places) / job.batch_size,
        log_every=job.log_every,
        checkpoint_every=job.steps_per_checkpoint,
        validate_every=job.steps_per_sheet,
        describe=lambda means: f"loss {means['loss']:.4f}, mse {means['mse']:.4f}",
        advice=summary.divergence_advice(clip_norm=job.clip_norm),
        stop=stop,
        notes=notes_of(parts),
    )
    if not fitted.finished:
        return None
    trained = devices.to_host(fitted.state.variables["params"])
    with contextlib.closing(batches(job.num_steps - 1)) as again:
        # The loop has seen the loss before the last step; this is the one after it.
        _, metrics = step(fitted.state, next(again))
    last = [np.asarray(metrics[name]) for name in ("loss", "gradient_norm")]
    if not all(np.isfinite(array).all() for array in (*last, *jax.tree.leaves(trained))):
        advice = summary.divergence_advice(clip_norm=job.clip_norm)
        raise Diverged(f"training diverged at its last step, {job.num_steps:,}. {advice}")
    return _conclude(parts, pictures, fitted, trained, seconds=time.monotonic() - started)


def _refuse_changed_images(output: Path, digest: str) -> None:
    """The settings know names and labels; these are the bytes."""
    output.mkdir(parents=True, exist_ok=True)
    file, content = output / _IMAGES, atomic.to_json({"sha256": digest})
    if atomic.create_if_absent(file, content) or file.read_bytes() == content:
        return
    if any((output / "checkpoints").glob("[0-9]*")):
        raise UserError(
            f"The training images have changed since {output} was begun: same names, other "
            "content. Restore them, or give another --config.finetune.output."
        )
    atomic.write_atomically(file, content)


def _batches(
    parts: Finetuning, programs: Programs, prepared: Prepared, start_step: int
) -> Generator[Batch, None, None]:
    batches = finetuning_batches(
        prepared.latents,
        prepared.prompts,
        prepared.text,
        batch_size=parts.job.batch_size,
        seed=parts.job.seed,
        sample_posterior=parts.job.sample_posterior,
        start_step=start_step,
        num_steps=parts.job.num_steps,
        host_index=devices.process_index(),
        host_count=devices.process_count(),
    )
    with contextlib.closing(batches):
        for batch in batches:
            yield devices.global_rows(programs.mesh, batch)


def _conclude(
    parts: Finetuning, pictures: Pictures, fitted: Fitted, trained: Params, *, seconds: float
) -> str:
    arguments, sheet = "", pictures.file(parts.job.num_steps)
    rate = fitted.images / fitted.seconds if fitted.seconds else None
    if devices.process_index() == 0:
        measured = {
            "steps": parts.job.num_steps,
            "loss": read_log(parts.output)[-1]["train/loss"],
            "images_per_second": rate,
            "seconds_of_last_process": seconds,
        }
        arguments = write_result(parts, trained, measured)
    return summary.end(
        parts.output,
        seconds=seconds,
        rate=rate,
        sheet=sheet if sheet.exists() else None,
        next_=arguments,
    )

"""A fine-tuning from the weights it starts from to the parameters that are trained."""

import contextlib
import functools
import threading
from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from dreamda_jax.algorithms import random_key
from dreamda_jax.data.files import atomic
from dreamda_jax.errors import UserError
from dreamda_jax.finetune import summary
from dreamda_jax.finetune.adaptation import Adaptation
from dreamda_jax.finetune.inputs import finetuning_batches
from dreamda_jax.finetune.loss import Batch
from dreamda_jax.finetune.pictures import Pictures
from dreamda_jax.finetune.prepare import Prepared
from dreamda_jax.finetune.programs import Programs
from dreamda_jax.models.stable_diffusion import checkpoint_files
from dreamda_jax.models.stable_diffusion.checkpoint_files import CheckpointFiles
from dreamda_jax.models.stable_diffusion.model import StableDiffusion
from dreamda_jax.options.finetune import Finetune
from dreamda_jax.runtime import devices, forecast, program_notes
from dreamda_jax.runtime.fit import fit
from dreamda_jax.runtime.log import read_log
from dreamda_jax.runtime.loop import Diverged
from dreamda_jax.types import Params

_IMAGES = "images.json"


def open_programs(model: StableDiffusion, adaptation: Adaptation, job: Finetune) -> Programs:
    """The compiled functions of a job over all its devices.

    Raises:
      UserError: the number of devices is no multiple of `fsdp`.
    """
    mesh = devices.training_mesh(job.fsdp or devices.device_count())
    return Programs(model, adaptation, job, mesh)


def notes_of(
    job: Finetune, files: CheckpointFiles, *, dtype: str, resolution: int
) -> program_notes.ProgramNotes:
    """What earlier runs left word of the step, which takes as long at any learning rate."""
    names = ("method", "batch_size", "accumulation", "remat", "fsdp", "lora_rank", "num_vectors")
    depends_on = {
        "networks": checkpoint_files.config_digest(files),
        "dtype": dtype,
        "resolution": resolution,
        "job": {name: getattr(job, name) for name in names},
    }
    return program_notes.notes_of("finetune", depends_on)


def time_of_steps(
    notes: program_notes.ProgramNotes, *, num_steps: int, step_flops: float, dtype: str
) -> forecast.Forecast | None:
    """How long the training will take, with its pictures; what an earlier run did counts again.

    Args:
      notes: see `notes_of`.
      num_steps: of the training.
      step_flops: of a step, with its share of the pictures.
      dtype: of the networks.
    """
    each = notes.seconds_each
    if each is not None:
        return forecast.from_last_run(each, unit="step", count=num_steps)
    return forecast.from_operations(
        step_flops,
        unit="step",
        count=num_steps,
        dtype=dtype,
        num_devices=devices.device_count(),
    )


class Trained(NamedTuple):
    """What a training has come to.

    Attributes:
      params: the trained parameters, float32 numpy.
      loss: the last that was logged, by the first process alone.
      rate: images per second of training alone; None: not measured.
    """

    params: Params
    loss: float | None
    rate: float | None


def train(
    output: Path,
    job: Finetune,
    programs: Programs,
    prepared: Prepared,
    pictures: Pictures,
    *,
    notes: program_notes.ProgramNotes,
    stop: threading.Event,
) -> Trained | None:
    """Trains, or goes on training.

    Args:
      output: the directory of the run.
      job: how to train.
      programs: compiled for it.
      prepared: what is trained on; the networks that the step does not need are dropped.
      pictures: drawn along the way.
      notes: of the step.
      stop: ends it after the step at hand, saved.

    Returns:
      None if `stop` was set before the last step.

    Raises:
      UserError: training diverged, or the disk is full.
    """
    state = programs.first_state(prepared.start)
    if not pictures.file(0).exists():
        pictures.draw(state)
    for name in set(prepared.start) - set(prepared.frozen):
        del prepared.start[name]  # the state holds a copy, and it is large
    step = functools.partial(programs.step, prepared.frozen, random_key.key(job.seed))
    batches = functools.partial(_batches, job, programs.mesh, prepared)
    fitted = fit(
        output,
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
        notes=notes,
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
    return Trained(
        params=trained,
        loss=read_log(output)[-1]["train/loss"] if not devices.process_index() else None,
        rate=fitted.images / fitted.seconds if fitted.seconds else None,
    )


def refuse_changed_images(output: Path, digest: str) -> None:
    """The settings know names and labels; these are the bytes.

    Raises:
      UserError: a run that has a checkpoint was begun with other images.
    """
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
    job: Finetune, mesh: jax.sharding.Mesh, prepared: Prepared, start_step: int
) -> Generator[Batch, None, None]:
    batches = finetuning_batches(
        prepared.latents,
        prepared.prompts,
        prepared.text,
        batch_size=job.batch_size,
        seed=job.seed,
        sample_posterior=job.sample_posterior,
        start_step=start_step,
        num_steps=job.num_steps,
        host_index=devices.process_index(),
        host_count=devices.process_count(),
    )
    with contextlib.closing(batches):
        for batch in batches:
            yield devices.global_rows(mesh, batch)

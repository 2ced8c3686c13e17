"""Makes the result of a checked job: encodes what is fixed, trains, draws and writes."""

import threading
import time
from collections.abc import Mapping
from typing import Any

from dreamda_jax.data.files import staging
from dreamda_jax.finetune import prepare, result, run, summary
from dreamda_jax.finetune.build import Finetuning, TrainingPrompts
from dreamda_jax.finetune.pictures import Pictures
from dreamda_jax.finetune.programs import Programs
from dreamda_jax.models.stable_diffusion.checkpoint_files import CheckpointFiles
from dreamda_jax.runtime import devices
from dreamda_jax.runtime.program_notes import ProgramNotes


def make(
    checked: Finetuning[CheckpointFiles],
    programs: Programs,
    prompts: TrainingPrompts,
    *,
    section_prompt: Mapping[str, Any],
    notes: ProgramNotes,
    stop: threading.Event,
) -> str | None:
    """Trains from where an earlier run ended, and writes the result.

    Args:
      checked: the job, its networks and its images.
      programs: compiled as they are first called.
      prompts: what images are trained with.
      section_prompt: section "prompt", for the command that uses the result.
      notes: of the training program.
      stop: when set, it ends after a step, to be continued by the same command.

    Returns:
      What to say at the end; None if `stop` was set on the way.

    Raises:
      UserError: the disk is full, an image cannot be read any more, or the loss is not a number.
    """
    job, output = checked.job, checked.output
    started = time.monotonic()
    prepared = prepare.prepare(
        checked.source,
        checked.model,
        checked.files,
        programs.mesh,
        adaptation=checked.adaptation,
        vocabulary=checked.vocabulary,
        prompts=prompts,
        view=checked.view,
        flip=job.flip,
        batch_size=job.batch_size,
        cache=staging.local(job.cache),
        stop=stop,
    )
    if prepared is None:
        return None
    run.refuse_changed_images(output, prepared.latents.digest)
    pictures = Pictures(
        output,
        programs,
        {**prepared.frozen, "vae": prepared.vae},
        prompts=prompts.of_classes,
        text=prepared.text,
        text_rows=prepared.class_prompts,
        job=job,
        latent_shape=checked.model.latent_shape(checked.view.resolution),
    )
    trained = run.train(output, job, programs, prepared, pictures, notes=notes, stop=stop)
    if trained is None:
        return None
    seconds = time.monotonic() - started
    arguments = result.arguments_of(output, job, section_prompt)
    if not devices.process_index():
        result.write_result(
            output,
            trained.params,
            checked.model,
            checked.files,
            job=job,
            vocabulary=checked.vocabulary,
            class_prompts=dict(zip(checked.source.label_names, prompts.of_classes, strict=True)),
            scheduler=checked.checkpoint.scheduler.given,
            told={
                "steps": job.num_steps,
                "loss": trained.loss,
                "images_per_second": trained.rate,
                "seconds_of_last_process": seconds,
                "started_from": checked.checkpoint.path,
                "use": arguments,
            },
        )
    sheet = pictures.file(job.num_steps)
    return summary.end(
        output,
        seconds=seconds,
        rate=trained.rate,
        sheet=sheet if sheet.exists() else None,
        next_=arguments,
    )

"""Adapt Stable Diffusion to your images before expanding them: the U-Net, LoRA, or new tokens.

    python -m dreamda_jax.finetune --config configs/fashion.py
    python -m dreamda_jax.finetune --config configs/pets.py --dry_run
    python -m dreamda_jax.finetune --config configs/pets.py --config.finetune.method=lora
    python -m dreamda_jax.finetune --config my.py --config.finetune.method=textual_inversion

The result is a checkpoint in diffusers' layout: generate with --config.model.path=<output>.
Run the same command again to continue a fine-tuning that was interrupted.
"""

import functools
import threading
from typing import Any

from absl import flags

from dreamda_jax.options import help
from dreamda_jax.settings import command_line

command_line.define_config_flag()
command_line.define_dry_run_flag()
command_line.define_verify_flag()
command_line.define_host_flags()


def main() -> int:
    """Runs the job so that Ctrl-C and SIGTERM leave something to continue from."""
    from dreamda_jax.runtime import distributed, interrupt

    config, dry_run = command_line.read_config(), flags.FLAGS.dry_run
    job = functools.partial(_finetune, config, dry_run, verify=flags.FLAGS.verify)
    hosts = distributed.Flags(**command_line.host_flags())
    return interrupt.exit_code(distributed.together(job, hosts))


def _finetune(
    config: dict[str, Any], dry_run: bool, stop: threading.Event, *, verify: bool = False
) -> int | None:
    from dreamda_jax.data.files import staging
    from dreamda_jax.runtime import distributed

    paths = (config["finetune"]["output"], config["finetune"]["cache"])
    with staging.mirrored(*paths, **distributed.mirroring()):
        return _finetune_here(config, dry_run, stop, verify=verify)


def _finetune_here(
    config: dict[str, Any], dry_run: bool, stop: threading.Event, *, verify: bool = False
) -> int | None:
    from dreamda_jax.data.files import run_directory
    from dreamda_jax.finetune import build
    from dreamda_jax.runtime import changed_images, devices, distributed

    parts = build.finetuning(
        config, num_devices=devices.device_count(), open_networks=build.open_checkpoint
    )
    job, output = parts.job, parts.output
    prompts = build.training_prompts(
        config,
        model=parts.model,
        vocabulary=parts.vocabulary,
        label_names=parts.source.label_names,
    )
    build.refuse_own_start(parts.files.directory, output)
    known = build.recorded(
        config,
        job=job,
        source=parts.source,
        model=parts.model,
        files=parts.files,
        verify=verify,
    )
    from dreamda_jax.finetune import (  # seconds a wrong path need not cost
        cost,
        make,
        result,
        run,
        summary,
    )
    from dreamda_jax.models.stable_diffusion import loading
    from dreamda_jax.models.stable_diffusion.model import abstract_params

    told = loading.notes_of(parts.files, parts.checkpoint.scheduler.given)
    for line in (*told, *build.check_classes(parts.source, output)):
        print(line)
    programs = run.open_programs(parts.model, parts.adaptation, job)
    notes = run.notes_of(
        job, parts.files, dtype=parts.checkpoint.dtype, resolution=parts.view.resolution
    )
    state = programs.state_shapes(abstract_params(parts.model))
    price = cost.price(parts.model, job, state, resolution=parts.view.resolution)
    run_directory.check_free_space(
        output, needed=price.num_bytes - run_directory.held_bytes(output)
    )
    dtype = parts.checkpoint.dtype
    print(
        summary.start(
            job,
            price,
            devices=devices.describe_devices(),
            fsdp=programs.mesh.shape["fsdp"],
            model=f"{parts.checkpoint.path}, {dtype}",
            prediction_type=parts.model.scheduler.prediction_type,
            num_trained=cost.num_parameters(state),
            source=parts.source,
            resolution=parts.view.resolution,
            time=run.time_of_steps(
                notes, num_steps=job.num_steps, step_flops=price.step_flops(job), dtype=dtype
            ),
        ),
        flush=True,
    )
    sets = {"source": (parts.source, known.content)}
    changed_images.refuse_changed(output, known.settings, sets, option="finetune.output")
    run_directory.check_settings(output, known.settings, defaults=known.defaults)
    if dry_run:
        return 0
    distributed.check_shared(output)
    with run_directory.open_run(
        output, known.settings, defaults=known.defaults, process_index=devices.process_index()
    ) as opened:
        if result.is_complete(output, num_steps=job.num_steps):
            print("nothing left to do: the result is there and undamaged")
            print(summary.next_command(result.how_to_use(output)))
            return 0
        opened.require_writable()
        if not devices.process_index():
            changed_images.remember(output, sets)
        lines = make.make(
            parts,
            programs,
            prompts,
            section_prompt=known.settings["prompt"],
            notes=notes,
            stop=stop,
        )
    if lines is None:
        return None
    print(lines)
    return 0


if __name__ == "__main__":
    command_line.run(main, functools.partial(help.text, "finetune"))

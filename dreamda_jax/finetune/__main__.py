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
from typing import TYPE_CHECKING, Any

from absl import flags

from dreamda_jax.options import help
from dreamda_jax.settings import command_line

if TYPE_CHECKING:  # JAX and diffusers take seconds that --help should not cost
    from dreamda_jax.finetune.build import Finetuning
    from dreamda_jax.finetune.programs import Programs

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

    parts = build.finetuning(config, verify=verify)
    from dreamda_jax.finetune import result, run, summary  # a second a wrong path need not cost

    for line in (*parts.notes, *build.check_classes(parts)):
        print(line)
    programs = run.open_programs(parts)
    print(_summary(parts, programs), flush=True)
    sets = {"source": (parts.source, parts.content)}
    changed_images.refuse_changed(parts.output, parts.settings, sets, option="finetune.output")
    run_directory.check_settings(parts.output, parts.settings, defaults=parts.defaults)
    if dry_run:
        return 0
    distributed.check_shared(parts.output)
    with run_directory.open_run(
        parts.output,
        parts.settings,
        defaults=parts.defaults,
        process_index=devices.process_index(),
    ) as opened:
        if result.is_complete(parts.output, num_steps=parts.job.num_steps):
            print("nothing left to do: the result is there and undamaged")
            print(summary.next_command(result.how_to_use(parts.output)))
            return 0
        opened.require_writable()
        if not devices.process_index():
            changed_images.remember(parts.output, sets)
        closing = run.finetune(parts, programs, stop)
    if closing is None:
        return None
    print(closing)
    return 0


def _summary(parts: "Finetuning", programs: "Programs") -> str:
    import jax
    import numpy as np

    from dreamda_jax.data.files import run_directory
    from dreamda_jax.finetune import run, summary
    from dreamda_jax.models.stable_diffusion.model import abstract_params
    from dreamda_jax.runtime import devices
    from dreamda_jax.runtime.flops import count_flops

    job, model = parts.job, parts.model
    params = abstract_params(model)
    state = programs.state_shapes(params)
    latents = jax.ShapeDtypeStruct((1, *model.latent_shape(parts.view.resolution)), np.float32)
    width = model.text_encoder.config.hidden_size
    context = jax.ShapeDtypeStruct((1, model.num_tokens, width), np.float32)
    num_bytes = _disk_bytes(state, params)
    held = run_directory.held_bytes(parts.output)
    run_directory.check_free_space(parts.output, needed=num_bytes - held)
    denoise_flops = count_flops(model.denoise, params, latents, np.int32(1), context)
    # Of a picture: two rows of the U-Net a step, for guidance.
    decode_flops = count_flops(model.decode_latents, params, latents)
    picture_flops = 2 * job.sample_steps * denoise_flops + decode_flops
    # Forward, backward for two, forward once more.
    image_flops = (4 if job.remat else 3) * denoise_flops
    num_sheets = 1 + -(-job.num_steps // job.steps_per_sheet) if job.num_samples else 0
    sheet_flops = job.num_samples * picture_flops
    in_all = image_flops * job.batch_size * job.num_steps + sheet_flops * num_sheets
    return summary.start(
        devices=devices.describe_devices(),
        fsdp=programs.mesh.shape["fsdp"],
        model=f"{parts.checkpoint.path}, {parts.checkpoint.dtype}",
        method=job.method.replace("_", " "),
        num_trained=sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        warmup_steps=job.warmup_steps,
        num_images=len(parts.source),
        source=parts.source,
        resolution=parts.view.resolution,
        num_steps=job.num_steps,
        batch_size=job.batch_size,
        accumulation=job.accumulation,
        optimizer=f"adamw, learning rate {job.peak_learning_rate:g}, {job.schedule}",
        weighting=f"{model.scheduler.prediction_type}, {summary.weighting(job)}",
        image_flops=image_flops,
        num_sheets=num_sheets,
        sheet_flops=sheet_flops,
        time=run.time_of_steps(parts, step_flops=in_all / job.num_steps),
        num_bytes=num_bytes,
        output=job.output,
    )


def _disk_bytes(state: Any, params: Any) -> int:
    """Two checkpoints that are kept and one that is being written, and the result."""
    import jax

    def size(tree: Any) -> int:
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))

    return 3 * size(state) + 2 * size(params)


if __name__ == "__main__":
    command_line.run(main, functools.partial(help.text, "finetune"))

"""Expand a labelled image set: every image becomes a seed, every seed n variants.

    python -m dreamda_jax.generate --config configs/fashion.py
    python -m dreamda_jax.generate --config configs/folder.py --config.source.path=my_images
    python -m dreamda_jax.generate --config configs/pets.py --dry_run

Run the same command again to continue a run that was interrupted.
"""

import contextlib
import functools
import threading
from pathlib import Path
from typing import Any

from absl import flags

from dreamda_jax import command_line

command_line.define_config_flag()
flags.DEFINE_bool("dry_run", False, "Say what would be made and at what cost, and stop.")


def main() -> int:
    """Runs the job so that Ctrl-C and SIGTERM leave something to continue from."""
    from dreamda_jax import interrupt

    config, dry_run = command_line.read_config(), flags.FLAGS.dry_run
    try:
        return interrupt.run_interruptibly(functools.partial(_generate, config, dry_run)) or 0
    except interrupt.Stopped as stopped:
        print(f"stopped by {stopped}; run the same command again to continue")
        return 128 + stopped.signum


def _generate(config: dict[str, Any], dry_run: bool, stop: threading.Event) -> int:
    # Imported here: JAX and diffusers take seconds that --help should not cost.
    from dreamda_jax import mesh, options
    from dreamda_jax.data import dataset, loader, prompts, run_directory, shards, sources
    from dreamda_jax.models import checkpoint_files, stable_diffusion
    from dreamda_jax.pipeline import DreamDAPipeline
    from dreamda_jax.report import cost, production, summary
    from dreamda_jax.synthesis import dreamda, engine

    bind = functools.partial(command_line.bind_section, config)
    image = bind("image", options.Image)
    synthesis = bind("synthesis", options.Synthesis)
    output = bind("output", options.Output)
    loading = bind("loader", options.Loader)
    checkpoint = bind("model", options.Model)
    methods = {"dreamda": dreamda.DreamDA}
    name = config["method"].pop("name", "dreamda")
    method = bind("method", command_line.choose(methods, name, "method.name"))
    source = sources.open_source(**config["source"])
    choose_prompt = bind("prompt", functools.partial(prompts.open_prompts, source.label_names))
    files = checkpoint_files.find_checkpoint(checkpoint.path, revision=checkpoint.revision)
    model = stable_diffusion.open_model(files, dtype=checkpoint.dtype)
    with command_line.as_user_error("method"):
        method.check(model)
    n, num_seeds = synthesis.num_variants, min(len(source), synthesis.max_seeds or len(source))
    layout = shards.Layout.for_seeds(
        Path(output.path),
        name=f"{source.name}_{name}",
        num_seeds=num_seeds,
        seeds_per_shard=synthesis.seeds_per_shard,
    )
    mine = list(range(mesh.process_index(), layout.num_shards, mesh.process_count()))
    num_bytes = cost.estimated_bytes(
        num_seeds * n, resolution=image.resolution, image_format=output.format
    )

    with contextlib.ExitStack() as stack:
        if dry_run:
            todo = shards.missing_shards(layout, shards=mine, checksum=False, remove_damaged=False)
        else:
            settings = {key: value for key, value in config.items() if key != "loader"}
            settings["output"] = command_line.without(config["output"], "path")
            settings["fingerprint"] = {
                "source": source.fingerprint(),
                "model": checkpoint_files.checkpoint_fingerprint(files.directory),
            }
            stack.enter_context(
                run_directory.open_run(
                    layout.directory, settings, process_index=mesh.process_index()
                )
            )
            shards.remove_leftovers(layout)
            todo = shards.missing_shards(layout, shards=mine, report=print)
        if todo:
            with command_line.as_user_error("method"):
                price = cost.price(model, method, resolution=image.resolution, num_variants=n)
            lines = summary.start_lines(...)
            print("\n".join(lines), flush=True)
    return 0

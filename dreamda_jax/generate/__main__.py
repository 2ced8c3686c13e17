"""Expand a labelled image set: every image becomes a seed, every seed n variants.

    python -m dreamda_jax.generate --config configs/fashion.py
    python -m dreamda_jax.generate --config configs/folder.py --config.source.path=my_images
    python -m dreamda_jax.generate --config configs/pets.py --dry_run

Run the same command again to continue a run that was interrupted.
"""

import functools
import threading
from typing import TYPE_CHECKING, Any

from absl import flags

from dreamda_jax.options import help
from dreamda_jax.settings import command_line

if TYPE_CHECKING:  # JAX and diffusers take seconds that --help should not cost
    from dreamda_jax.data.files.mirror import Mirror
    from dreamda_jax.generate import build, run
    from dreamda_jax.runtime.distributed import Hosts

command_line.define_config_flag()
command_line.define_dry_run_flag()
command_line.define_verify_flag()
command_line.define_host_flags()


def main() -> int:
    """Runs the job so that Ctrl-C and SIGTERM leave something to continue from."""
    from dreamda_jax.runtime import distributed, interrupt

    config, dry_run = command_line.read_config(), flags.FLAGS.dry_run
    job = functools.partial(_generate, config, dry_run, verify=flags.FLAGS.verify)
    hosts = distributed.Flags(**command_line.host_flags())
    return interrupt.exit_code(distributed.apart(job, hosts))


def _generate(
    config: dict[str, Any],
    dry_run: bool,
    hosts: "Hosts",
    stop: threading.Event,
    *,
    verify: bool = False,
) -> int | None:
    from dreamda_jax.data.files import staging

    with staging.mirrored(
        config["output"]["path"], wanted=hosts.wants, process_index=hosts.index
    ) as mirrors:
        return _generate_here(config, dry_run, hosts, mirrors, stop, verify=verify)


def _generate_here(
    config: dict[str, Any],
    dry_run: bool,
    hosts: "Hosts",
    mirrors: "list[Mirror]",
    stop: threading.Event,
    *,
    verify: bool,
) -> int | None:
    from dreamda_jax.data.files import run_directory
    from dreamda_jax.data.sets import shards
    from dreamda_jax.generate import build

    parts = build.generation(config, verify=verify)
    from dreamda_jax.generate import retry, run, seed_images  # after every path has been found
    from dreamda_jax.synthesis.pipeline import DreamDAPipeline

    layout = parts.layout
    for note in (*parts.notes, *build.check_classes(parts)):
        print(note)
    settings = seed_images.settings_of_run(parts)
    mine = range(hosts.index, layout.num_shards, hosts.count)
    if dry_run:
        run_directory.check_settings(layout.directory, settings, defaults=parts.defaults)
        todo = shards.missing_shards(layout, shards=mine, checksum=False, remove_damaged=False)
        todo = sorted({*todo, *retry.mended_shards(parts, {*mine} - {*todo}, report=print)})
        print(_summary(parts, mine, todo, run.expect(parts, DreamDAPipeline(parts.model))))
        return 0
    with run_directory.open_run(
        layout.directory, settings, defaults=parts.defaults, process_index=hosts.index
    ) as opened:
        if not opened.read_only:
            seed_images.remember(parts)
            shards.remove_leftovers(layout)
        todo = shards.missing_shards(
            layout, shards=mine, report=print, remove_damaged=not opened.read_only
        )
        mended = retry.mended_shards(parts, {*mine} - {*todo}, report=print)
        if todo or mended:
            opened.require_writable()
            retry.forget_learned(layout, mended)
            todo = sorted({*todo, *mended})
            pipeline = DreamDAPipeline(parts.model)
            expected = run.expect(parts, pipeline)
            print(_summary(parts, mine, todo, expected), flush=True)
            run.make_and_report(
                *(parts, pipeline, mine, todo, expected, stop),
                process_index=hosts.index,
                mirrors=mirrors,
            )
        else:
            of = " of this process" if hosts.count > 1 else ""
            print(f"nothing left to do: every shard{of} is there and undamaged")
        for mirror in mirrors:
            run.fetch_the_others(mirror, layout)
        others = shards.missing_shards(  # silently: another process may be writing them
            layout, checksum=False, remove_damaged=False, report=lambda line: None
        )
        if not others:
            print(run.look(parts) if opened.read_only else run.finish(parts))
        elif stop.is_set():
            return None
        else:
            print(
                f"this process is done; {len(others)} shards of other processes are left: run the "
                "same command as those, or as one process alone"
            )
    return 0


def _summary(
    parts: "build.Generation", mine: range, todo: list[int], expected: "run.Expected"
) -> str:
    from dreamda_jax.data.files import run_directory
    from dreamda_jax.generate import cost, run, summary
    from dreamda_jax.runtime import devices

    seeds_left = sum(len(parts.layout.seed_ids(shard)) for shard in todo)
    num_images = seeds_left * parts.synthesis.num_variants
    num_bytes = cost.estimated_bytes(
        num_images,
        num_shards=len(todo),
        resolution=parts.image.resolution,
        image_format=parts.output.format,
    )
    run_directory.check_free_space(parts.layout.directory, needed=num_bytes)
    return summary.start(
        num_skipped=run.num_skipped(parts, {*mine} - {*todo}),
        devices=devices.describe_devices(),
        model=f"{parts.checkpoint.path}, {parts.checkpoint.dtype}",
        method=parts.method.name,
        num_seeds=sum(len(parts.layout.seed_ids(shard)) for shard in mine),
        seeds_left=seeds_left,
        source=parts.source,
        num_variants=parts.synthesis.num_variants,
        resolution=parts.image.resolution,
        price=expected.price,
        time=run.time_of_images(parts, expected, num_images=num_images),
        num_bytes=num_bytes,
        output=parts.output.path,
    )


if __name__ == "__main__":
    command_line.run(main, functools.partial(help.text, "generate"))

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

    checked = build.generation(config, verify=verify)
    identity, networks, making = checked.identity, checked.networks, checked.making
    from dreamda_jax.generate import (  # after every path has been found
        expected,
        retry,
        run,
        seed_images,
    )
    from dreamda_jax.synthesis.pipeline import DreamDAPipeline

    layout, source = making.layout, making.source
    for note in (*checked.notes, *build.check_classes(source, layout)):
        print(note)
    settings = seed_images.settings_of_run(identity, layout, source)
    mine = range(hosts.index, layout.num_shards, hosts.count)
    mended_shards = functools.partial(
        retry.mended_shards, layout, source, making.image, report=print
    )
    start_lines = functools.partial(expected.start_lines, networks, making, mine)
    if dry_run:
        run_directory.check_settings(layout.directory, settings, defaults=identity.defaults)
        todo = shards.missing_shards(layout, shards=mine, checksum=False, remove_damaged=False)
        todo = sorted({*todo, *mended_shards({*mine} - {*todo})})
        print(start_lines(todo, expected.expect(networks, making, DreamDAPipeline(networks.model))))
        return 0
    with run_directory.open_run(
        layout.directory, settings, defaults=identity.defaults, process_index=hosts.index
    ) as opened:
        if not opened.read_only:
            seed_images.remember(identity.content, layout)
            shards.remove_leftovers(layout)
        todo = shards.missing_shards(
            layout, shards=mine, report=print, remove_damaged=not opened.read_only
        )
        mended = mended_shards({*mine} - {*todo})
        if todo or mended:
            opened.require_writable()
            retry.forget_learned(layout, mended)
            todo = sorted({*todo, *mended})
            pipeline = DreamDAPipeline(networks.model)
            known = expected.expect(networks, making, pipeline)
            print(start_lines(todo, known), flush=True)
            run.make_and_report(
                *(networks, making, pipeline, mine, todo, known, stop),
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
            print(run.look(layout, source) if opened.read_only else run.finish(making))
        elif stop.is_set():
            return None
        else:
            print(
                f"this process is done; {len(others)} shards of other processes are left: run the "
                "same command as those, or as one process alone"
            )
    return 0


if __name__ == "__main__":
    command_line.run(main, functools.partial(help.text, "generate"))

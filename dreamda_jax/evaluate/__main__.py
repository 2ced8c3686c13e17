"""Judge synthetic images: metrics, copies and leaks, and whether classifiers got better.

    python -m dreamda_jax.evaluate --config configs/fashion.py
    python -m dreamda_jax.evaluate --config configs/fashion.py \
        --config.evaluate.classifiers=runs/fashion_classifier,runs/fashion_mixed,runs/fashion_amst
    python -m dreamda_jax.evaluate --config configs/folder.py --real my_images --synthetic others \
        --config.evaluate.inception_weights=inception.safetensors

Writes `report.html`, one page to open in a browser, and `report.json`. Features are kept in
`evaluate.cache`; run the same command again to continue an evaluation that was interrupted.
"""

import functools
import threading
from typing import Any

from absl import flags

from dreamda_jax.options import help
from dreamda_jax.settings import command_line

command_line.define_config_flag()
command_line.define_dry_run_flag()
command_line.define_host_flags()
flags.DEFINE_string(
    "real", None, "Real images: a folder with one sub-folder per class. Default: section source."
)
flags.DEFINE_string(
    "synthetic",
    None,
    "Images to judge: what `generate` made, or such a folder. Default: output.path.",
)


def main() -> int:
    """Runs the job so that Ctrl-C and SIGTERM leave something to continue from."""
    from dreamda_jax.runtime import distributed, interrupt

    config = command_line.read_config()
    given = {"real": flags.FLAGS.real, "synthetic": flags.FLAGS.synthetic}
    job = functools.partial(_evaluate, config, given, flags.FLAGS.dry_run)
    hosts = distributed.Flags(**command_line.host_flags())
    return interrupt.exit_code(distributed.together(job, hosts))


def _evaluate(
    config: dict[str, Any], given: dict[str, str | None], dry_run: bool, stop: threading.Event
) -> int | None:
    from dreamda_jax.data.files import staging
    from dreamda_jax.evaluate.build import report_path
    from dreamda_jax.runtime import distributed

    output = report_path(
        config["evaluate"].get("output"), given["synthetic"] or config["output"]["path"]
    )
    paths = (output, config["evaluate"].get("cache"))
    with staging.mirrored(*paths, **distributed.mirroring()):
        return _evaluate_here(config, given, dry_run, stop)


def _evaluate_here(
    config: dict[str, Any], given: dict[str, str | None], dry_run: bool, stop: threading.Event
) -> int | None:
    from dreamda_jax.data.files import staging
    from dreamda_jax.errors import UserError
    from dreamda_jax.evaluate import (
        build,
        duration,
        examine,
        networks,
        report,
        report_directory,
        summary,
    )
    from dreamda_jax.evaluate.pictures import Pictures
    from dreamda_jax.runtime import devices

    parts = build.evaluation(config, **given)
    cache = staging.local(parts.options.cache)
    report_directory.refuse_foreign_directory(parts.output, cache=cache)
    # What generate made was decoded when it was written.
    own = "" if parts.origin.made is None else "synthetic"
    foreign = {name: source for name, source in parts.sets.items() if name != own}
    for line in build.check_classes(foreign):
        print(line)
    settings: dict[str, Any] = {name: config[name] for name in ("evaluate", "clip")}
    used = networks.open_networks(parts.options, parts.clip, parts.label_names)

    def of() -> str:
        return report_directory.made_of(
            parts.sets,
            used,
            view=parts.view,
            classifiers=parts.classifiers,
            settings=settings,
        )

    if not dry_run:
        try:
            # Raises now rather than when all is computed.
            report_directory.make_directory(parts.output)
        except UserError:
            there = report_directory.finished(parts.output, of())
            if there is None:
                raise
            print("nothing left to do: the report is there, and of these images and settings")
            print(summary.end(there, output=parts.output))
            return 0
    print(
        summary.start(
            devices=devices.describe_devices(),
            sets=parts.sets,
            resolution=parts.view.resolution,
            extractor=used.extractor.description,
            time=duration.time_of_images(parts.sets.values(), used, parts.view),
            output=str(parts.output),
        ),
        flush=True,
    )
    if dry_run:
        return 0
    sets = examine.sweep_all(
        parts.sets,
        used.channels,
        view=parts.view,
        cache=cache,
        stop=stop,
        notes=duration.notes_of(used, parts.view),
    )
    if sets is None:
        return None
    if devices.process_index():
        return 0  # the first one reports
    seeds = {} if parts.origin.seeds is None else {"seed": parts.origin.seeds}
    made = report.write_report(
        parts.output,
        used,
        sets,
        Pictures({**parts.sets, **seeds}, parts.view),
        of=of(),
        label_names=parts.label_names,
        only_in=parts.only_in,
        origin=parts.origin,
        classifiers=parts.classifiers,
        options=parts.options,
        settings=settings,
    )
    print(summary.end(made, output=parts.output))
    return 0


if __name__ == "__main__":
    command_line.run(main, functools.partial(help.text, "evaluate"))

"""Run one of the paper's comparisons: images, metrics and classifiers of every cell of a table.

    python -m dreamda_jax.reproduce --config configs/fashion.py --study=sites --dry_run
    python -m dreamda_jax.reproduce --config configs/fashion.py --study=sites
    python -m dreamda_jax.reproduce --config configs/fashion.py --study=scales --scales=0,1,3
    python -m dreamda_jax.reproduce --config configs/fashion.py --study=methods
    python -m dreamda_jax.reproduce --config configs/fashion.py --study=steps

Studies: "sites" (Tables 1 and 7) perturbs in each place of the network, "scales" (Figure 3) with
each strength, "methods" (Tables 3 and 5) compares every method and conventional augmentation,
"steps" samples in fewer steps, with another solver, and with the encoder at every second step.

Each cell runs `generate`, `evaluate` and `train` as processes of their own, with commands that are
printed in the results and can be repeated by hand. Overrides (`--config.section.field=value`) go to
all of them. Run the same command again to continue a study that was interrupted.
"""

import functools
import sys
import threading
from typing import TYPE_CHECKING, Any

from absl import flags
from ml_collections.config_flags import config_flags

from dreamda_jax.errors import UserError
from dreamda_jax.options import help
from dreamda_jax.settings import command_line

if TYPE_CHECKING:  # what --help should not wait for
    from dreamda_jax.reproduce import build, run

command_line.define_config_flag()
command_line.define_dry_run_flag()
_STUDY = flags.DEFINE_enum(
    "study", None, ["sites", "scales", "methods", "steps"], "Which comparison."
)
_OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "The study's directory. Default: runs/reproduce_<study>.",
    allow_override=True,  # entry points are imported side by side in tests, and export has one too
)
_CELLS = flags.DEFINE_list("cells", [], "Only these cells; --dry_run shows their names.")
_SCALES = flags.DEFINE_list(
    "scales", [], "Noise scales of --study=scales (default: 0,1,2,3,4,5,6,8), or of every site."
)
_SITES = flags.DEFINE_list("sites", [], "Only these places of --study=sites.")
_NUM_RUNS = flags.DEFINE_integer("num_runs", 3, "Trainings of each cell.", lower_bound=1)
_TRAIN = flags.DEFINE_bool(
    "train",
    None,
    "Train classifiers. Default: for --study=methods and --study=steps; --notrain: never.",
)


def main() -> int:
    """Runs the study so that Ctrl-C and SIGTERM leave something to continue from."""
    from dreamda_jax.reproduce import build, cells
    from dreamda_jax.runtime import interrupt

    config = command_line.read_config()
    if _STUDY.value is None:
        raise UserError("no study given: add --study=sites, scales, methods or steps")
    argv = flags.FLAGS.read_flags_from_files(sys.argv[1:], force_gnu=False)
    given = build.Flags(
        study=_STUDY.value,
        file=config_flags.get_config_filename(flags.FLAGS["config"]),
        overrides=cells.given_overrides(argv),
        output=_OUTPUT.value,
        cells=_CELLS.value,
        scales=_SCALES.value,
        sites=_SITES.value,
        num_runs=_NUM_RUNS.value,
        train=_TRAIN.value,
    )
    return interrupt.exit_code(functools.partial(_reproduce, config, given, flags.FLAGS.dry_run))


def _resolve(file: str) -> dict[str, Any]:
    """What a configuration says without overrides."""
    try:
        return config_flags.ConfigFileFlagParser("config").parse(file).to_dict()
    except (TypeError, ValueError, KeyError) as error:
        raise UserError(
            f"{file} cannot be used: the configuration takes no such method after the colon"
        ) from error


def _reproduce(
    config: dict[str, Any], given: "build.Flags", dry_run: bool, stop: threading.Event
) -> int | None:
    from dreamda_jax.data.files import run_directory
    from dreamda_jax.reproduce import build, progress, results, run

    study = build.study(config, given, resolve=_resolve)
    setup, output = study.setup, study.setup.output
    if dry_run:
        print(
            results.preview(
                study.chosen,
                setup,
                num_seeds=len(study.seeds),
                num_variants=study.num_variants,
            )
        )
        return 0
    settings = {"study": study.name, "config": config}
    # A new option counts as what this version's configuration says of it.
    defaults = {"config": _resolve(study.file)}
    continues = run_directory.is_continued(output, settings, defaults=defaults)
    progress.renew(study.cells, setup, continues=continues)

    write = functools.partial(
        results.write_results,
        study.cells,
        setup,
        study=study.name,
        file=study.file,
        num_steps=study.num_steps,
    )

    def after_cell(failures: "run.Failures") -> None:
        write(failures)
        print(f"time        {progress.time_left(study.chosen, setup)}", flush=True)

    print(f"time        {progress.time_left(study.chosen, setup)}", flush=True)
    with run_directory.open_run(output, settings, defaults=defaults):
        outcome = run.run_cells(study.chosen, setup, stop, after_cell)
        written = write(outcome.failures)
        pictures = results.draw_pictures(
            output,
            written,
            seeds=study.seeds,
            image=study.image,
            num_steps=study.num_steps,
        )
    print(results.text_table(written) if written["cells"] else "no cell is finished yet")
    for name in (results.RESULTS, results.PAGE, *pictures):
        print(f"look at     {output / name}")
    for (cell, stage), ended in outcome.failures.items():
        print(f"failed      {cell}: {stage}, {ended.reason}")
    if not outcome.complete:
        return None
    return 1 if outcome.failures else 0


if __name__ == "__main__":
    command_line.run(main, functools.partial(help.text, "reproduce"))

"""What a study writes: results.json, results.md, and pictures.

DIR/results.json         every number and command
DIR/results.md           the table, and the commands of each row
DIR/contact_sheet.png    the same seeds in every cell
DIR/noise_scale.png      of --study=scales, figures against σ_h
"""

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dreamda_jax.data.files import atomic, run_settings
from dreamda_jax.data.sources import Source
from dreamda_jax.options.synthesis import Image as ImageOptions
from dreamda_jax.printable import shown
from dreamda_jax.reproduce import numbers, progress, table
from dreamda_jax.reproduce.cells import Cell, Setup, wanted_stages
from dreamda_jax.reproduce.comparison_sheet import comparison_sheet
from dreamda_jax.reproduce.run import Failures
from dreamda_jax.reproduce.scale_plot import scale_plot

RESULTS, PAGE, SHEET, PLOT = "results.json", "results.md", "contact_sheet.png", "noise_scale.png"
_TITLES = {
    "sites": "Where to perturb (Tables 1 and 7)",
    "scales": "How strongly to perturb (Figure 3)",
    "methods": "Methods and conventional augmentation (Tables 3 and 5)",
    "steps": "How few steps suffice",
}


def write_results(
    cells: Sequence[Cell],
    setup: Setup,
    failures: Failures,
    *,
    study: str,
    file: str,
    num_steps: int | None,
) -> dict[str, Any]:
    """Writes results.json and results.md of what is finished so far.

    Args:
      cells: all of the study, those that were not to run now included.
      setup: of the study.
      study: its name.
      file: of the configuration.
      num_steps: of a training.
      failures: of this run of the command.

    Returns:
      What results.json holds.

    Raises:
      UserError: a result is damaged, or the disk is full.
    """
    rows = [row for cell in cells if (row := numbers.read_cell(cell, setup, failures))]
    results = {
        "format": 1,
        "study": study,
        "created": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "versions": run_settings.software_versions(),
        "config": file,
        "overrides": list(setup.overrides),
        "oracle": setup.oracle,
        "baseline": numbers.baseline(rows),
        "cells": rows,
    }
    with atomic.disk_full_is_a_user_error(setup.output, needed=1_000_000):
        atomic.write_atomically(setup.output / RESULTS, atomic.to_json(results))
        atomic.write_atomically(setup.output / PAGE, shown(_page(results, num_steps)).encode())
    return results


def draw_pictures(
    output: Path,
    results: Mapping[str, Any],
    *,
    seeds: Source,
    image: ImageOptions,
    num_steps: int | None,
) -> list[str]:
    """Draws what can be drawn of finished cells, and names it on the page.

    Args:
      output: the directory of the study.
      results: as `write_results` gave them.
      seeds: the real images, by the sets' seed ids.
      image: how they become squares.
      num_steps: of a training.

    Returns:
      The names of the files.
    """
    sets = {
        row["name"]: output / "cells" / row["name"] / "set"
        for row in results["cells"]
        if "set" in row
    }
    drawn = []
    if sets and comparison_sheet(
        sets,
        seeds,
        output / SHEET,
        resolution=image.resolution,
        crop=image.crop,
    ):
        drawn.append(SHEET)
    if results["study"] == "scales" and scale_plot(
        results["cells"], results["baseline"], output / PLOT
    ):
        drawn.append(PLOT)
    page = _page(results, num_steps, pictures=drawn)
    atomic.write_atomically(output / PAGE, shown(page).encode())
    return drawn


def text_table(results: Mapping[str, Any]) -> str:
    """For a terminal."""
    return table.as_text(table.table(results["cells"], results["baseline"]))


def _page(results: Mapping[str, Any], num_steps: int | None, pictures: Sequence[str] = ()) -> str:
    rows = results["cells"]
    lines = [f"# {_TITLES[results['study']]}", ""]
    if rows:
        lines += [table.as_markdown(table.table(rows, results["baseline"])), ""]
    lines += _notes(results, num_steps)
    lines += [line for name in pictures for line in (f"![{name}]({name})", "")]
    lines += ["## Commands", ""]
    for row in rows:
        lines += [f"{row['name']}:", ""]
        lines += [f"    {command}" for command in row["commands"].values()]
        lines.append("")
        for stage, failed in row["failed"].items():
            lines += [f"`{stage}` failed ({failed['reason']}):", ""]
            lines += [*(f"    {line}" for line in failed["last_lines"]), ""]
    return "\n".join(lines)


def _notes(results: Mapping[str, Any], num_steps: int | None) -> list[str]:
    rows, lines = results["cells"], []
    extractors = list(dict.fromkeys(row["extractor"] for row in rows if "extractor" in row))
    if extractors:
        lines.append(f"- Features of FID and the like: {'; '.join(extractors)}.")
    if any(row.get("diversity") for row in rows):
        lines.append(
            "- Diversity: distance of a seed's variants, as a share of that of real images of a "
            "class. Copies: images that look like a real one."
        )
    judged = [row["labels"] for row in rows if "labels" in row]
    if judged:
        lines.append(
            "- Labels: the share of images whose label, their seed's, the oracle "
            f"{results['oracle']} gives too."
        )
    trained = [row["accuracy"] for row in rows if "accuracy" in row]
    if trained:
        runs = max(len(of["runs"]) for of in trained)
        spread = " ± sample standard deviation" if runs > 1 else ""
        lines.append(
            f"- Accuracy in % on {trained[0]['measured_on']} images, last weights, mean{spread} of "
            f"{runs} run{'s' if runs > 1 else ''} of {num_steps:,} steps each."
        )
    versions = results["versions"]
    shown = ("dreamda-jax", "jax", "flax", "diffusers")
    software_used = ", ".join(f"{name} {versions[name]}" for name in shown if versions[name])
    lines.append(
        f"- {results['created'][:10]}; Python {versions['python']}, {software_used}. All numbers: "
        f"[{RESULTS}]({RESULTS})."
    )
    return [*lines, ""]


def preview(chosen: Sequence[Cell], setup: Setup, *, num_seeds: int, num_variants: int) -> str:
    """Every command, and how many images and trainings they come to.

    Args:
      chosen: the cells to run.
      setup: of the study.
      num_seeds: real images.
      num_variants: of each.
    """
    images = num_seeds * num_variants
    lines: list[str] = []
    num_sets, num_trained = 0, 0
    for cell in chosen:
        stages = wanted_stages(cell, setup)
        names = {stage.name for stage in stages}
        made = f"{images:,} images" if "generate" in names else "no images"
        runs = f"training x {setup.num_runs}" if "train" in names else "no training"
        num_sets += "generate" in names
        num_trained += "train" in names
        lines += [f"{cell.name}: {made}, {runs}", *(f"    {stage.command}" for stage in stages)]
    lines += [
        "",
        f"cells       {len(chosen)} in {setup.output}",
        f"images      {num_sets * images:,} (sets: {num_sets}; seeds: {num_seeds:,}; "
        f"variants of each: {num_variants})",
        f"trainings   {num_trained * setup.num_runs} (cells: {num_trained}; runs of each: "
        f"{setup.num_runs})",
        f"time        {progress.time_left(chosen, setup)}",
    ]
    return "\n".join(lines)

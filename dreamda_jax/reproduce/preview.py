"""What a study would run: for --dry_run."""

from dreamda_jax.reproduce.build import Study
from dreamda_jax.reproduce.cells import wanted_stages


def preview(study: Study) -> str:
    """Every command, and how many images and trainings they come to."""
    setup = study.setup
    images = len(study.seeds) * study.num_variants
    lines: list[str] = []
    num_sets, num_trained = 0, 0
    for cell in study.chosen:
        stages = wanted_stages(cell, setup)
        names = {stage.name for stage in stages}
        made = f"{images:,} images" if "generate" in names else "no images"
        runs = f"training x {setup.num_runs}" if "train" in names else "no training"
        num_sets += "generate" in names
        num_trained += "train" in names
        lines += [f"{cell.name}: {made}, {runs}", *(f"    {stage.command}" for stage in stages)]
    lines += [
        "",
        f"cells       {len(study.chosen)} in {setup.output}",
        f"images      {num_sets * images:,} (sets: {num_sets}; seeds: {len(study.seeds):,}; "
        f"variants of each: {study.num_variants})",
        f"trainings   {num_trained * setup.num_runs} (cells: {num_trained}; runs of each: "
        f"{setup.num_runs})",
    ]
    return "\n".join(lines)

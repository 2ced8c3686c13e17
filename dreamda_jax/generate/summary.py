"""The lines a run begins and ends with."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dreamda_jax.data.sets.dataset import Summary
from dreamda_jax.data.sources import Source
from dreamda_jax.data.sources.folder_walk import first_few
from dreamda_jax.data.sources.overview import overview
from dreamda_jax.data.sources.readable_classes import HOW_TO_WIDEN
from dreamda_jax.generate.cost import Cost
from dreamda_jax.generate.statistics import Statistics
from dreamda_jax.runtime import forecast
from dreamda_jax.runtime.readable import readable_bytes, readable_flops, readable_rate

_LABEL_WIDTH = 10


def start(
    *,
    devices: str,
    model: str,
    method: str,
    num_seeds: int,
    seeds_left: int,
    source: Source,
    num_variants: int,
    resolution: int,
    price: Cost,
    time: forecast.Forecast | None,
    num_bytes: int,
    output: str,
    num_skipped: int = 0,
) -> str:
    """What is about to be made, on what, and at what cost.

    Of the seed images that are not left an earlier run has skipped `num_skipped`.
    """
    images = seeds_left * num_variants
    done = (num_seeds - seeds_left - num_skipped) * num_variants
    resumed = f" ({done:,} are there already)" if done else ""
    return "\n".join(
        [
            f"devices   {devices}",
            f"model     {model}",
            f"seeds     {num_seeds:,} images of {len(source.label_names)} classes, "
            f"{resolution}x{resolution}",
            *overview(source, label_width=_LABEL_WIDTH),
            f"images    {images:,} to make with {method}, {num_variants} per seed{resumed}",
            f"cost      {price.unet_rows:.1f} U-Net rows, {readable_flops(price.flops)} per image; "
            f"{readable_flops(price.flops * images)} in all",
            *forecast.lines(time, label_width=_LABEL_WIDTH),
            f"output    {output}, at most about {readable_bytes(num_bytes)}",
        ]
    )


def made(statistics: Statistics, *, noise_scale: float | None) -> str:
    """How a run went: speed without compilation, and the perturbation in proportion."""
    lines = []
    if statistics.seconds:
        rate = statistics.images_in_seconds / statistics.seconds
        lines.append(
            f"speed     {readable_rate(rate)} after compilation; the devices waited for the host "
            f"{statistics.device_wait_share:.1%} of the time"
        )
    if statistics.batches and noise_scale is not None:
        lines.append(
            f"noise     RMS of the perturbed features {statistics.site_rms:.2f}, "
            f"noise_scale {noise_scale:g}"
        )
    if statistics.enlarged:
        lines.append(
            f"note      {statistics.enlarged:,} seed images are smaller than the target size and "
            "were enlarged"
        )
    if statistics.narrow:
        lines.append(
            f"note      {statistics.narrow:,} seed images use under 1/8 of their range, from black "
            f"to white: {HOW_TO_WIDEN}"
        )
    return "\n".join(lines)


def kept(statistics: Statistics, *, seeds_per_shard: int) -> str:
    """What a run that was stopped leaves: whole shards, and nothing of the others."""
    lost = statistics.images - statistics.kept
    line = f"kept      {statistics.kept:,} of the {statistics.images:,} images made now"
    if not lost:
        return line
    return (
        f"{line}; {lost:,} of unfinished shards will be made again (a smaller "
        f"synthesis.seeds_per_shard than {seeds_per_shard}, chosen when a set is begun, loses less)"
    )


def session(statistics: Statistics, *, devices: str, price: Cost) -> dict[str, Any]:
    """The same for machines: a line of `data.sets.production_log`."""
    return {
        "devices": devices,
        "images": statistics.images,
        "seconds": statistics.seconds,
        "images_in_seconds": statistics.images_in_seconds,
        "site_rms": statistics.site_rms,
        "flops_per_image": price.flops,
        "unet_rows_per_image": price.unet_rows,
    }


def end(directory: Path, made: Summary, *, empty_classes: Sequence[str] = ()) -> str:
    """Where everything is, and what to do next.

    Args:
      directory: of the set.
      made: what it holds.
      empty_classes: all of whose seed images were skipped.
    """
    sheet = directory / "contact_sheet.png"
    lines = [
        f"done      {made.num_records:,} images, {readable_bytes(made.num_bytes)}, in {directory}",
        *([f"look at   {sheet}"] if sheet.exists() else []),
        f"next      python -m dreamda_jax.export --input {directory} --to imagefolder "
        f"--output {directory}_images",
    ]
    if made.num_skipped:
        skipped = directory / "skipped.jsonl"
        lines.insert(1, f"skipped   {made.num_skipped:,} seed images, reasons in {skipped}")
    if empty_classes:
        lines.insert(
            2,
            f"warning   no image was made of the class {first_few(list(empty_classes), 10)}: every "
            "seed image of it was skipped. Mend them and run the same command again",
        )
    return "\n".join(lines)

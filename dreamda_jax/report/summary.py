"""The lines a run begins and ends with."""

import humanize

from dreamda_jax.report.cost import Cost


def start_lines(
    *,
    devices: str,
    model: str,
    dtype: str,
    method: str,
    num_seeds: int,
    num_classes: int,
    num_variants: int,
    resolution: int,
    images_here: int,
    images_done: int,
    cost: Cost,
    num_bytes: int,
    output: str,
) -> list[str]:
    """What is about to be made, on what, and at what cost."""
    total = num_seeds * num_variants
    left = images_here - images_done
    return [
        f"device    {devices}",
        f"model     {model} ({dtype})",
        f"seeds     {num_seeds:,} images of {num_classes} classes, {resolution}x{resolution}",
        f"images    {total:,} to make with {method}, {num_variants} variants a seed"
        + (f"; {images_done:,} are done, {left:,} left" if images_done else ""),
        f"cost      {cost.unet_rows:.1f} U-Net rows and {_tflop(cost.flops)} per image, "
        f"{_tflop(cost.flops * left)} in all",
        f"output    {output}, at most about {humanize.naturalsize(num_bytes)}",
    ]


def _tflop(flops: float) -> str:
    tera = flops / 1e12
    return f"{tera:,.3g} TFLOP" if tera < 1000 else f"{tera:,.0f} TFLOP"

"""The lines an evaluation begins and ends with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dreamda_jax.data.sources import Source
from dreamda_jax.data.sources.overview import overview
from dreamda_jax.runtime import forecast

_LABEL_WIDTH = 12


def start(
    *,
    devices: str,
    sets: Mapping[str, Source],
    resolution: int,
    extractor: str,
    time: forecast.Forecast | None,
    output: str,
) -> str:
    """What is about to be compared, in what features."""
    real = sets["real"]
    counts = ", ".join(f"{len(images):,} {name}" for name, images in sets.items())
    return "\n".join(
        [
            f"devices     {devices}",
            f"images      {counts}; {len(real.label_names)} classes, {resolution}x{resolution}",
            *overview(real, label_width=_LABEL_WIDTH),
            f"features    {extractor}",
            *forecast.lines(time, label_width=_LABEL_WIDTH),
            f"output      {output}",
        ]
    )


def end(report: Mapping[str, Any], *, output: Path) -> str:
    """The metrics, copies and accuracies, and where everything is."""
    rows = [("metric", "value", "95 % interval", "real test images")]
    for metric in report["metrics"]:
        interval = ""
        if metric["low"] is not None:
            interval = f"{_figure(metric['low'])} to {_figure(metric['high'])}"
        rows.append(
            (metric["label"], _figure(metric["value"]), interval, _figure(metric["baseline"]))
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    lines += [
        f"note        {metric['label']}: {metric['note']}"
        for metric in report["metrics"]
        if metric["value"] is None
    ]
    for name, words in (("training", "real"), ("test", "test")):
        found = report["copies"][name]
        if found is not None:
            lines.append(
                f"copies      {found['flagged']:,} of {found['compared']:,} synthetic images look "
                f"like copies of {words} images"
            )
    lines += [f"accuracy    {row['mean']:.2%}  {row['directory']}" for row in report["accuracy"]]
    lines += [
        f"warning     {row['directory']}: every image is taken for {', '.join(row['only_classes'])}"
        for row in report["accuracy"]
        if row.get("only_classes")
    ]
    lines += [f"warning     {warning}" for warning in report["warnings"]]
    lines.append(f"done        look at {output / 'report.html'}")
    return "\n".join(lines)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"

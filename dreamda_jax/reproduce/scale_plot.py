"""Figure 3: what becomes of quality and labels as the perturbation grows."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from dreamda_jax.data.drawing import save_figure

_LINE, _REAL = "#4c78a8", "#c83c28"
Point = tuple[float, float, float | None, float | None]
"""σ_h, the figure, and its interval."""


def scale_plot(
    rows: Sequence[Mapping[str, Any]], baseline: Mapping[str, float] | None, path: Path
) -> bool:
    """Draws FID, the share of labels an oracle shares, and accuracy against σ_h.

    Args:
      rows: as `numbers.read_cell` gives them; one that lacks a figure is no point of its panel, and
        a panel without points is left out.
      baseline: metrics of real test images, or None.
      path: of the PNG; replaced in one step.

    Returns:
      Whether there was a point to draw.
    """
    panels = {
        title: points
        for title, read in _PANELS.items()
        if (points := sorted(filter(None, (_at_scale(row, read) for row in rows))))
    }
    if not panels:
        return False
    figure = Figure(figsize=(5.0 * len(panels), 4.0), layout="constrained")
    all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, points) in zip(all_axes, panels.items(), strict=True):
        scales, values, lows, highs = zip(*points, strict=True)
        bars = (_lengths(values, lows), _lengths(values, highs))
        axes.errorbar(scales, values, yerr=bars, marker="o", capsize=3, linewidth=1.4, color=_LINE)
        if title == _FID and baseline is not None and "fid" in baseline:
            axes.axhline(baseline["fid"], color=_REAL, linestyle="--", linewidth=1)
            # On the line's own height; to the right, where the curve has left it.
            axes.annotate(
                "real test images",
                (1.0, baseline["fid"]),
                xycoords=("axes fraction", "data"),
                xytext=(-2, 3),
                textcoords="offset points",
                ha="right",
                color=_REAL,
                fontsize=9,
            )
            axes.set_ylim(bottom=0)
        if title != _FID:
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_xlabel("σ_h")
        axes.set_title(title)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)
    return True


def _lengths(values: Sequence[float], ends: Sequence[float | None]) -> list[float]:
    return [
        0.0 if end is None else abs(end - value) for value, end in zip(values, ends, strict=True)
    ]


def _at_scale(
    row: Mapping[str, Any], read: Callable[[Mapping[str, Any]], tuple | None]
) -> Point | None:
    found = read(row)
    return None if found is None else (row["settings"]["noise_scale"], *found)


def _fid(row: Mapping[str, Any]) -> tuple | None:
    found = row.get("metrics", {}).get("fid")
    if found is None or found["value"] is None:
        return None
    return found["value"], found["low"], found["high"]


def _labels(row: Mapping[str, Any]) -> tuple | None:
    found = row.get("labels")
    return None if found is None else (found["share"], found["low"], found["high"])


def _accuracy(row: Mapping[str, Any]) -> tuple | None:
    found = row.get("accuracy")
    if found is None:
        return None
    spread = found["std"] or 0.0
    return found["mean"], found["mean"] - spread, found["mean"] + spread


_FID = "FID (bars: 95 %)"
_PANELS: dict[str, Callable[[Mapping[str, Any]], tuple | None]] = {
    _FID: _fid,
    "labels the oracle shares (bars: 95 %)": _labels,
    "accuracy (bars: standard deviation)": _accuracy,
}

"""Pictures of a classifier: its confusion matrix, its accuracy per class, its training curves.

Written as PNG, replacing an older one in one step. They keep to matplotlib's object interface:
pyplot would look for a display and keep every figure alive.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import ArrayLike

from dreamda_jax.algorithms.metrics.accuracy import per_class_accuracy, top1
from dreamda_jax.data.drawing import save_figure

_POINTS = 72  # of an inch
_INK, _BAR, _ACCENT, _EMPTY = "#1e1e1e", "#4c78a8", "#c83c28", "#e6e6e6"
_LONGEST_NAME, _TAIL, _MOST_COUNTED = 32, 13, 20


def confusion_picture(confusion: ArrayLike, label_names: Sequence[str], path: Path) -> None:
    """Draws a confusion matrix: colour is the share of the true class, grey a class without images.

    Args:
      confusion: [c, c], rows true, columns predicted; counts are written into at most 20 classes.
      label_names: c names; every n-th is written where all would overlap (above 120 or so).
      path: of the PNG.

    Raises:
      ValueError: the matrix counts no example.
    """
    counts = np.asarray(confusion, np.int64)
    num_classes = len(counts)
    side = min(max(0.45 * num_classes, 3.5), 12.0)
    figure = Figure(figsize=(side, side))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    examples = counts.sum(axis=1, keepdims=True)
    shares = np.where(examples > 0, counts / np.maximum(examples, 1), np.nan)
    colours = matplotlib.colormaps["Blues"].with_extremes(bad=_EMPTY)
    # The root shows confusions of one image in fifty, which a linear scale leaves white.
    scale = PowerNorm(0.5, vmin=0, vmax=1)
    image = axes.imshow(shares, cmap=colours, norm=scale, interpolation="nearest")
    if num_classes <= _MOST_COUNTED:
        for row, column in np.argwhere(counts):
            colour = "white" if shares[row, column] > 0.4 else _INK
            axes.text(
                column,
                row,
                str(counts[row, column]),
                color=colour,
                fontsize=8,
                ha="center",
                va="center",
            )
    name_classes(axes, label_names, pitch=side / num_classes, axis="both")
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title(f"{counts.sum():,} images, {top1(counts):.2%} correct")
    bar = figure.add_axes((1 + 0.15 / side, 0.25, 0.2 / side, 0.5))
    figure.colorbar(
        image,
        cax=bar,
        ticks=(0, 0.02, 0.1, 0.25, 0.5, 1),
        format=PercentFormatter(1.0),
        label="share of the true class",
    )
    save_figure(figure, path)


def per_class_picture(confusion: ArrayLike, label_names: Sequence[str], path: Path) -> None:
    """Draws the accuracy of each class as a bar, the best on top, and marks their mean.

    Args:
      confusion: [c, c], rows true, columns predicted; classes without examples come last.
      label_names: c names.
      path: of the PNG.
    """
    counts = np.asarray(confusion, np.int64)
    accuracies, examples = per_class_accuracy(counts), counts.sum(axis=1)
    order = np.argsort(-accuracies, kind="stable")  # NaN comes last
    pitch = min(0.22, 30 / len(order))
    figure = Figure(figsize=(6.0, max(pitch * len(order), 1.0)))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.barh(np.arange(len(order)), np.nan_to_num(accuracies[order]), height=0.75, color=_BAR)
    names = [label_names[index] for index in order]
    size, every = name_classes(axes, names, pitch=pitch, axis="y")
    for row in range(0, len(order), every):
        accuracy, number = accuracies[order[row]], examples[order[row]]
        words = f"{accuracy:.1%} of {number:,}" if number else "no images"
        axes.text(1.02, row, words, fontsize=size, va="center", color=_INK)
    mean = float(np.nanmean(accuracies))
    axes.axvline(mean, color=_ACCENT, linestyle="--", linewidth=1)
    axes.set_title(f"mean of the classes {mean:.2%}", color=_ACCENT)
    axes.set_xlim(0, 1)
    axes.set_ylim(len(order) - 0.5, -0.5)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("accuracy")
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)


def curves_picture(log: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draws losses and accuracies over steps; no picture if none was logged.

    Args:
      log: rows as `runtime.log.read_log` gives them. A curve for every name that ends in "/loss"
        or "/accuracy", such as "train/loss" and "validation/accuracy"; accuracies in [0, 1].
      path: of the PNG.
    """
    panels: dict[str, list[str]] = {}
    for quantity in ("loss", "accuracy"):
        found = dict.fromkeys(name for row in log for name in row if name.endswith(f"/{quantity}"))
        if found:
            panels[quantity] = list(found)
    if not panels:
        return
    figure = Figure(figsize=(5.5 * len(panels), 4.0), layout="constrained")
    for axes, (quantity, names) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        for name in names:
            points = [(row["step"], row[name]) for row in log if name in row]
            steps, values = zip(*points, strict=True)
            marker = "." if len(points) <= 30 else ""
            axes.plot(
                steps, values, marker=marker, linewidth=1.2, label=name.removesuffix(f"/{quantity}")
            )
        if quantity == "accuracy":
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.set_xlabel("step")
        axes.set_title(quantity)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    save_figure(figure, path)


def name_classes(
    axes: Axes, label_names: Sequence[str], *, pitch: float, axis: str
) -> tuple[float, int]:
    """Writes names that are `pitch` inches apart, all or every n-th, so that none overlap.

    Returns:
      Their font size in points, and n.
    """
    size = min(max(0.75 * pitch * _POINTS, 5.5), 10.0)
    every = math.ceil(1.3 * size / (pitch * _POINTS))  # a line is 1.17 high
    places = range(0, len(label_names), every)
    names = [_shown(label_names[place]) for place in places]
    axes.set_yticks(places, names, fontsize=size)
    if axis == "both":
        axes.set_xticks(places, names, fontsize=size, rotation=90)
    return size, every


def _shown(name: str) -> str:
    """Cut in the middle if too long; `$` escaped, or matplotlib would set a formula between two."""
    if len(name) > _LONGEST_NAME:  # names of a kind often differ in their last word
        name = f"{name[: _LONGEST_NAME - _TAIL - 1]}…{name[-_TAIL:]}"
    return name.replace("$", r"\$")

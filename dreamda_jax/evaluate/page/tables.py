"""The report's tables in the order and grouping that the page shows."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dreamda_jax.evaluate import gain
from dreamda_jax.evaluate.page.charts import Axis, fitting_axis, shares_of_largest
from dreamda_jax.evaluate.page.numbers import is_number

_SERIES = 5  # colours beside the baseline's grey


class ClassRow(NamedTuple):
    """A class in the table of the images; bars are lengths in percent."""

    name: str
    real: int
    synthetic: int
    fid: float | None
    fid_bar: str | None
    diversity: float | None
    diversity_bar: str | None


class ClassifierRow(NamedTuple):
    """A classifier in the table of accuracies; the first is the baseline, its colour is 0."""

    entry: Mapping[str, Any]
    colour: int
    difference: float | None
    mean: str | None
    runs: list[str]


class AccuracyTable(NamedTuple):
    """Classifiers, and their accuracies class by class.

    Attributes:
      classifiers: a row for each.
      axis: what the rows' positions are on.
      baseline: the position of the first; None without classifiers.
      classes: (name, [accuracy of each classifier], difference of the best one to the first).
      gain: of which two that is; None if there are no two to compare.
    """

    classifiers: list[ClassifierRow]
    axis: Axis
    baseline: str | None
    classes: list[tuple[str, list[float | None], float | None]]
    gain: gain.Gain | None


class LabelRow(NamedTuple):
    """A class in the label audit; `mostly_to` is (class, images)."""

    name: str
    images: int
    unchanged: int
    changed: int
    rejected: int
    mostly_to: tuple[str, int] | None
    precisions: list[float | None]


def class_rows(per_class: Sequence[Mapping[str, Any]]) -> list[ClassRow]:
    """Classes by falling FID: those to look at first. Without one they come last."""
    fid_bars = shares_of_largest([row["fid"] for row in per_class])
    # A whole bar is the variety of real images.
    diversity_bars = shares_of_largest([row["diversity"] for row in per_class], least=1.0)
    rows = [
        ClassRow(
            row["name"], row["real"], row["synthetic"], row["fid"], fid, row["diversity"], diversity
        )
        for row, fid, diversity in zip(per_class, fid_bars, diversity_bars, strict=True)
    ]
    return sorted(rows, key=lambda row: -row.fid if is_number(row.fid) else float("inf"))


def accuracy_table(accuracy: Sequence[Mapping[str, Any]]) -> AccuracyTable:
    """Classifiers in their order; classes by falling gain, or as they come if there is none."""
    found = gain.best_gain(accuracy)
    axis = fitting_axis([value for entry in accuracy for value in (entry["mean"], *entry["runs"])])
    colours = itertools.cycle(range(1, _SERIES + 1))
    classifiers = [
        ClassifierRow(
            entry=entry,
            colour=next(colours) if place else 0,
            difference=(
                entry["mean"] - accuracy[0]["mean"]
                if place and entry["measured_on"] == accuracy[0]["measured_on"]
                else None
            ),
            mean=axis.at(entry["mean"]),
            runs=[at for at in map(axis.at, entry["runs"]) if at] if len(entry["runs"]) > 1 else [],
        )
        for place, entry in enumerate(accuracy)
    ]
    of_classifier = [
        {row["name"]: row["accuracy"] for row in entry["per_class"]} for entry in accuracy
    ]
    classes = []
    for name in dict.fromkeys(name for of in of_classifier for name in of):
        difference = None
        if found:
            before, after = (
                of_classifier[_place(accuracy, entry)].get(name)
                for entry in (found.baseline, found.best)
            )
            if is_number(before) and is_number(after):
                difference = after - before
        classes.append((name, [of.get(name) for of in of_classifier], difference))
    classes.sort(key=lambda row: -row[2] if row[2] is not None else float("inf"))
    baseline = classifiers[0].mean if classifiers else None
    return AccuracyTable(classifiers, axis, baseline, classes, found)


def label_rows(audit: Mapping[str, Any]) -> list[LabelRow]:
    """Classes that have images, the least accepted first."""
    compared = (audit["labellings"] or {}).values()
    rows = [
        LabelRow(
            row["name"],
            row["images"],
            row["unchanged"],
            row["changed"],
            row["rejected"],
            _mostly_to(audit, label),
            [of["by_class"]["precision"][label] for of in compared],
        )
        for label, row in enumerate(audit["classes"])
        if row["images"]
    ]
    return sorted(rows, key=lambda row: -row.rejected / row.images)


def split_pairs(
    pairs: Sequence[Mapping[str, Any]],
) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """The flagged pairs, and the others, each with the most alike first."""
    ordered = sorted(pairs, key=lambda pair: pair["feature_distance"])
    return [pair for pair in ordered if pair["flagged"]], [
        pair for pair in ordered if not pair["flagged"]
    ]


def _place(accuracy: Sequence[Mapping[str, Any]], wanted: Mapping[str, Any]) -> int:
    return next(place for place, entry in enumerate(accuracy) if entry is wanted)


def _mostly_to(audit: Mapping[str, Any], label: int) -> tuple[str, int] | None:
    others = [(number, to) for to, number in enumerate(audit["changes"][label]) if to != label]
    number, to = max(others, default=(0, 0), key=lambda pair: pair[0])
    return (audit["label_names"][to], number) if number else None

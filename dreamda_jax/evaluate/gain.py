"""What synthetic images did for a classifier's accuracy: the best classifier against the first."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Gain(NamedTuple):
    """The best of all classifiers but the first, beside the first.

    Attributes:
      baseline: the first entry of the report's "accuracy".
      best: the best of the others.
      difference: of their mean accuracies; below 0 if the baseline is better.
      error: standard error of the difference, from the deviations of the runs; None unless both
        had several.
    """

    baseline: Mapping[str, Any]
    best: Mapping[str, Any]
    difference: float
    error: float | None


def best_gain(accuracy: Sequence[Mapping[str, Any]]) -> Gain | None:
    """Compares the best classifier with the first one.

    Args:
      accuracy: as in the report: entries with "mean", "std", "runs" and "measured_on". Accuracies
        on test and on validation images are not compared.

    Returns:
      None if there are no two to compare.
    """
    if not accuracy:
        return None
    baseline, *others = accuracy
    comparable = [entry for entry in others if entry["measured_on"] == baseline["measured_on"]]
    if not comparable:
        return None
    best = max(comparable, key=lambda entry: entry["mean"])
    return Gain(baseline, best, best["mean"] - baseline["mean"], _error(baseline, best))


def _error(*entries: Mapping[str, Any]) -> float | None:
    if any(entry["std"] is None or len(entry["runs"]) < 2 for entry in entries):
        return None
    return sum(entry["std"] ** 2 / len(entry["runs"]) for entry in entries) ** 0.5

"""What `train` left in its output directories, read for a report."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dreamda_jax.data.files import json_text
from dreamda_jax.errors import UserError

_LABELLINGS = ("seed", "soft", "clip")


class TrainingResults(NamedTuple):
    """One output directory, all its runs.

    Attributes:
      directory: of the training.
      method: such as "supervised", "amst" or "amst, seed labels".
      train_on: "real", "synthetic" or "mixed".
      has_test: whether accuracies are of test images, not of validation images.
      accuracies: of the last weights, in [0, 1], one for each run.
      label_names: the classes.
      confusion: int64 [classes, classes], the sum over the runs that are still there.
      confusions: the same of each of those runs.
    """

    directory: Path
    method: str
    train_on: str
    has_test: bool
    accuracies: tuple[float, ...]
    label_names: tuple[str, ...]
    confusion: np.ndarray
    confusions: tuple[np.ndarray, ...] = ()


def read_results(directory: Path) -> TrainingResults:
    """Reads a training that has ended.

    Raises:
      UserError: it has not ended, or its files are damaged.
    """
    try:
        settings = json_text.parse((directory / "config.json").read_bytes())["settings"]
        runs = json_text.parse((directory / "results.json").read_bytes())["runs"]
        details = [json_text.parse(file.read_bytes()) for file in _runs(directory, "result.json")]
        train_on = settings["data"]["train_on"]
        method = settings["train"]["method"]
        confusions = tuple(np.array(of["confusion"], np.int64) for of in details)
        return TrainingResults(
            directory=directory,
            method=_described(method, settings),
            train_on="mixed" if method == "amst" else train_on,
            has_test="test" in settings["sha256"],
            accuracies=tuple(float(run["test_accuracy"]) for run in runs),
            label_names=tuple(details[0]["label_names"]),
            confusion=np.sum(confusions, axis=0),
            confusions=confusions,
        )
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise UserError(
            f"{directory} is no finished output of `python -m dreamda_jax.train` ({error!r}). Run "
            "its training to the end, or leave it out of --config.evaluate.classifiers."
        ) from error


class FoundAudit(NamedTuple):
    """The label audit of a self-training.

    Attributes:
      audit: what `train.label_audit.audit` gave.
      picture: PNG, or None where it is not there.
      directory: of the round.
    """

    audit: dict[str, Any]
    picture: bytes | None
    directory: Path


def find_audit(directories: Sequence[Path]) -> FoundAudit | None:
    """The label audit of a self-training among them: of its first run, of the last round.

    The first one that judged labels itself is taken, else the first of any labelling.

    Returns:
      None if no directory has one.
    """
    found: list[tuple[bool, int, Path]] = []
    for directory in directories:
        files = [
            file
            for file in _runs(directory, "round-*/audit.json")
            if file.relative_to(directory).parts[0] == "run-0"
        ]
        if files:
            amst = json_text.parse((directory / "config.json").read_bytes())["settings"].get(
                "amst", {}
            )
            found.append((amst.get("pseudo_labels") != "amst", len(found), files[-1]))
    if not found:
        return None
    file = min(found)[-1]
    return FoundAudit(
        json_text.parse(file.read_bytes()), _read(file.with_suffix(".png")), file.parent
    )


def _described(method: str, settings: Mapping[str, Any]) -> str:
    """A method and which ablation of it."""
    if method != "amst":
        return method
    options, words = settings.get("amst", {}), [method]
    labels = options.get("pseudo_labels", method)
    if labels != method:
        words.append(f"{labels} labels" if labels in _LABELLINGS else "labels from a file")
    if not options.get("multi_head", True):
        words.append("one head")
    if not options.get("consistency", True):
        words.append("no consistency")
    return ", ".join(words)


def _runs(directory: Path, pattern: str) -> list[Path]:
    def number(file: Path) -> list[int]:
        parts = file.relative_to(directory).parts
        return [int(part.split("-")[1]) for part in parts if "-" in part]

    return sorted(directory.glob(f"run-*/{pattern}"), key=number)


def _read(file: Path) -> bytes | None:
    return file.read_bytes() if file.exists() else None

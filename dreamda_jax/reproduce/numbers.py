"""The numbers of a cell, read from what its commands left."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dreamda_jax.algorithms.metrics.intervals import mean_and_std
from dreamda_jax.data.files import json_text
from dreamda_jax.data.sets import production_log, training_results
from dreamda_jax.errors import UserError
from dreamda_jax.reproduce import progress
from dreamda_jax.reproduce.cells import Cell, Setup, Stage, stages
from dreamda_jax.reproduce.run import Ended

_LOGGED = ("unet_rows_per_image", "flops_per_image", "site_rms")
"""Of a session of `generate`."""


def read_cell(
    cell: Cell, setup: Setup, failures: Mapping[tuple[str, str], Ended]
) -> dict[str, Any] | None:
    """A cell of results.json; None if nothing of it is finished and nothing has failed.

    Args:
      cell: which.
      setup: of the study.
      failures: of this run of the command.

    Returns:
      "name", "settings", "commands", "seconds" and "failed" by stage; and of the finished stages
      "set" (images and cost), "metrics", "diversity" and "copies", "labels", "accuracy".
    """
    directory = setup.directory(cell)
    every = stages(cell, setup)
    notes = {
        stage.name: note
        for stage in every
        if (note := progress.finished(directory, stage, digest=setup.digest(cell))) is not None
    }
    failed = {
        stage.name: {"reason": ended.reason, "last_lines": list(ended.last_lines)}
        for stage in every
        if (ended := failures.get((cell.name, stage.name))) is not None
    }
    if not notes and not failed:
        return None
    row: dict[str, Any] = {
        "name": cell.name,
        "config": cell.config,
        "settings": dict(cell.settings),
        "commands": {
            stage.name: stage.command
            for stage in every
            if stage.name in notes or stage.name in failed
        },
        "seconds": {name: note["seconds"] for name, note in notes.items()},
        "failed": failed,
    }
    for stage in every:
        if stage.name in notes:
            row |= _READERS[stage.name](stage)
    return row


def baseline(rows: Sequence[Mapping[str, Any]]) -> dict[str, float] | None:
    """What real test images give in the place of synthetic ones, of the first cell that has it."""
    for row in rows:
        found = {
            name: metric["baseline"]
            for name, metric in row.get("metrics", {}).items()
            if metric["baseline"] is not None
        }
        if found:
            return found
    return None


def _read_set(stage: Stage) -> dict[str, Any]:
    """Images and their cost: the mean over sessions, by their images."""
    sessions = production_log.read_sessions(stage.result.parent)
    found: dict[str, Any] = {"directory": str(stage.result.parent)}
    for name in _LOGGED:
        pairs = [
            (session["images"], session[name])
            for session in sessions
            if session.get("images") and session.get(name) is not None
        ]
        count = sum(images for images, _ in pairs)
        found[name] = sum(images * value for images, value in pairs) / count if count else None
    flops = found.pop("flops_per_image")
    found["tflop_per_image"] = None if flops is None else flops / 1e12
    return {"set": found}


def _read_report(stage: Stage) -> dict[str, Any]:
    report = _json(stage.result)
    copies = report["copies"]["training"]
    return {
        "images": report["sets"]["synthetic"]["images"],
        "extractor": report["extractor"]["description"],
        "metrics": {
            metric["name"]: {name: metric[name] for name in ("value", "low", "high", "baseline")}
            for metric in report["metrics"]
        },
        "diversity": report["diversity"] and report["diversity"]["ratio"],
        "copies": copies and copies["flagged"],
    }


def _read_labels(stage: Stage) -> dict[str, Any]:
    return {"labels": _json(stage.result)}


def _read_training(stage: Stage) -> dict[str, Any]:
    found = training_results.read_results(stage.result.parent)
    mean, std = mean_and_std(found.accuracies)
    return {
        "accuracy": {
            "mean": mean,
            "std": std,
            "runs": list(found.accuracies),
            "measured_on": "test" if found.has_test else "validation",
            "method": found.method,
            "trained_on": found.train_on,
        }
    }


_READERS = {
    "generate": _read_set,
    "evaluate": _read_report,
    "labels": _read_labels,
    "train": _read_training,
}


def _json(file: Path) -> dict[str, Any]:
    try:
        return dict(json_text.parse(file.read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{file} cannot be read ({error}). Remove it and run the same command again, which "
            "makes it anew."
        ) from error

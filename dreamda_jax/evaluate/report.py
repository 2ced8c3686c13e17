"""The report: what was found, as one dict for machines and one page for people."""

import datetime
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from dreamda_jax.algorithms.metrics.accuracy import per_class_accuracy, sole_prediction
from dreamda_jax.algorithms.metrics.intervals import mean_and_std
from dreamda_jax.data.files import atomic, json_text, run_settings
from dreamda_jax.data.files.digests import sha256_of_bytes
from dreamda_jax.data.sets import production_log, training_results
from dreamda_jax.data.sources.folder_walk import first_few
from dreamda_jax.errors import UserError
from dreamda_jax.evaluate import examine, numbers
from dreamda_jax.evaluate.advice import advice
from dreamda_jax.evaluate.build import Evaluation
from dreamda_jax.evaluate.examine import Sets
from dreamda_jax.evaluate.networks import FINGERPRINTS, Networks
from dreamda_jax.evaluate.page.page import write_page
from dreamda_jax.evaluate.pictures import Pictures, galleries
from dreamda_jax.runtime import set_content
from dreamda_jax.runtime.sweep import Swept

REPORT, PAGE, FLAGGED = "report.json", "report.html", "copies.jsonl"
_AUDIT = "audit"  # the key of its picture


def write_report(
    parts: Evaluation, networks: Networks, sets: Sets, settings: dict[str, Any]
) -> dict[str, Any]:
    """Measures, and writes `report.json`, `report.html` and `copies.jsonl`.

    Args:
      parts: the checked configuration.
      networks: what features are of.
      sets: all features.
      settings: of the evaluation, to be shown beside those of the generation.

    Returns:
      What report.json holds: see `page.page.write_page`.

    Raises:
      UserError: a directory of `evaluate.classifiers` is damaged, or the disk is full.
    """
    pictures = Pictures(parts)
    per_class, diversity = examine.classes(parts, networks, sets)
    searches = examine.copies_and_leaks(parts, networks, sets, pictures)
    sheets = galleries(parts, sets.synthetic, pictures)
    audit = training_results.find_audit(parts.classifiers)
    if audit is not None and audit.picture is not None:
        pictures.encoded[_AUDIT] = audit.picture
    report = {
        "format": 1,
        "made_of": made_of(parts, networks, settings),
        "title": f"{parts.synthetic.name}: evaluation",
        "created": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "versions": run_settings.software_versions(),
        "settings": {**parts.recorded, **settings},
        "sets": {
            "real": _set(sets.real),
            "synthetic": _set(sets.synthetic),
            "test": _set(sets.test) if sets.test else None,
        },
        "extractor": {
            "name": networks.extractor.name,
            "description": networks.extractor.description,
            "num_features": networks.extractor.num_features,
        },
        "metrics": examine.metrics(parts, networks, sets),
        "per_class": per_class,
        "copies": {name: found.summary if found else None for name, found in searches.items()},
        "diversity": diversity,
        "accuracy": [_accuracy(directory, parts) for directory in parts.classifiers],
        "audit": _audit(audit) if audit else None,
        "cost": _cost(parts.synthetic_directory, len(parts.synthetic)),
        "warnings": _warnings(parts, sets),
    }
    report["advice"] = advice(report)
    flagged = [
        {"found_in": name, **pair}
        for name, found in searches.items()
        if found is not None
        for pair in found.flagged
    ]
    lines = b"".join(atomic.to_json(pair, indent=None) for pair in flagged)
    with atomic.disk_full_is_a_user_error(parts.output, needed=len(lines) + 1_000_000):
        atomic.write_atomically(parts.output / FLAGGED, lines)
        atomic.write_atomically(parts.output / REPORT, atomic.to_json(report))
        write_page(parts.output / PAGE, report, pictures.encoded, sheets)
    return report


def refuse_foreign_directory(output: Path, *, cache: Path) -> None:
    """Makes sure that a report is written to a new or empty directory, or that of a report.

    Args:
      output: the directory, which need not be there.
      cache: of features; it may lie in it.

    Raises:
      UserError: it is a file, or holds something else.
    """
    if output.exists() and not output.is_dir():
        raise UserError(
            f"The report directory {output} is a file. Give a directory as "
            "--config.evaluate.output."
        )
    if not output.is_dir() or _read(output) is not None:
        return
    ours = {REPORT, PAGE, FLAGGED, *([cache.name] if cache.parent == output else [])}
    with os.scandir(output) as entries:
        names = sorted(entry.name for entry in entries)
    foreign = [name for name in names if name not in ours and not name.startswith(atomic.PREFIX)]
    if foreign or (output / REPORT).exists():
        shown = first_few(foreign or [REPORT])
        raise UserError(
            f"The report directory {output} holds something else: {shown}. Give a new or an empty "
            "directory as --config.evaluate.output."
        )


def make_directory(output: Path) -> None:
    """Makes the directory of a report.

    Raises:
      UserError: it cannot be made or written.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=atomic.PREFIX, dir=output)
        os.close(descriptor)
        os.unlink(name)
    except OSError as error:
        raise UserError(
            f"The report directory {output} cannot be written ({error.strerror or error}). Give "
            "another one as --config.evaluate.output."
        ) from error


def made_of(parts: Evaluation, networks: Networks, settings: dict[str, Any]) -> str:
    """Sha256 (hex) of all that decides a report: images, networks, trainings, options.

    Args:
      parts: the checked configuration.
      networks: what features are of.
      settings: of the evaluation.
    """
    chosen = {name: dict(section) for name, section in settings.items()}
    for name in ("output", "cache", "batch_size"):
        chosen.get("evaluate", {}).pop(name, None)
    sets = {"real": parts.real, "synthetic": parts.synthetic, "test": parts.test}
    decides = {
        "settings": run_settings.plain(chosen),
        "view": list(parts.view[:2]),
        "sets": {
            name: set_content.identity_of(source, what=f"the {name} images")
            for name, source in sets.items()
            if source is not None
        },
        "networks": [[channel.name, channel.digest] for channel in networks.channels],
        "trainings": [
            sha256_of_bytes((directory / "results.json").read_bytes())
            for directory in parts.classifiers
        ],
        "versions": run_settings.software_versions(),
    }
    return sha256_of_bytes(atomic.to_json(decides))


def finished(output: Path, of: str) -> dict[str, Any] | None:
    """A report that is there; None where it is none, or one of something else.

    Args:
      output: the directory.
      of: see `made_of`.
    """
    found = _read(output)
    if found is None or found.get("made_of") != of or not (output / PAGE).is_file():
        return None
    return found


def _read(output: Path) -> dict[str, Any] | None:
    """report.json, where it is one of ours."""
    try:
        found = json_text.parse((output / REPORT).read_bytes())
    except (OSError, ValueError):
        return None
    ours = isinstance(found, dict) and found.get("format") == 1 and "metrics" in found
    return found if ours else None


def _set(swept: Swept) -> dict[str, Any]:
    return {
        "name": swept.source.name,
        "images": len(swept.places),
        "classes": len(np.unique(swept.row_labels)),
        "left_out": swept.broken,
    }


def _accuracy(directory: Path, parts: Evaluation) -> dict[str, Any]:
    found = training_results.read_results(directory)
    mean, std = mean_and_std(found.accuracies)
    sole = [sole_prediction(confusion) for confusion in found.confusions]
    shares = dict(zip(found.label_names, per_class_accuracy(found.confusion), strict=True))
    return {
        "name": directory.name,
        "directory": str(directory),
        "method": found.method,
        "trained_on": found.train_on,
        "mean": mean,
        "std": std,
        "runs": list(found.accuracies),
        "measured_on": "test" if found.has_test else "validation",
        "only_classes": [found.label_names[label] for label in sole if label is not None],
        "per_class": [
            {"name": name, "accuracy": numbers.or_none(shares.get(name, np.nan))}
            for name in dict.fromkeys((*parts.label_names, *found.label_names))
        ],
    }


def _audit(found: training_results.FoundAudit) -> dict[str, Any]:
    picture = {} if found.picture is None else {"image": _AUDIT}
    return {**found.audit, **picture, "of": str(found.directory)}


def _cost(directory: Path, images: int) -> dict[str, Any] | None:
    """What making the set took; a session that was killed has left no time."""
    sessions = production_log.read_sessions(directory)
    logged = sum(session["images"] for session in sessions)
    if not logged:
        return None
    flops = sum(session["images"] * session["flops_per_image"] for session in sessions) / logged
    seconds = sum(session["seconds"] for session in sessions)
    timed = sum(session["images_in_seconds"] for session in sessions)
    return {
        "images": images,
        "tflop_per_image": flops / 1e12,
        "tflop": images * flops / 1e12,
        "seconds": seconds if seconds and logged >= images else None,
        "images_per_second": timed / seconds if seconds else None,
        "devices": ", ".join(sorted({str(session["devices"]) for session in sessions})),
    }


def _repeated(swept: Swept) -> int:
    """Images whose thumbnail an earlier one has; flat ones, which have none, do not count."""
    seen: set[bytes] = set()
    count = 0
    for thumbnail in swept.features[FINGERPRINTS].values["thumbnail"]:
        if thumbnail.any():
            digest = hashlib.sha1(thumbnail.tobytes(), usedforsecurity=False).digest()
            count += digest in seen
            seen.add(digest)
    return count


def _warnings(parts: Evaluation, sets: Sets) -> list[str]:
    warnings = []
    for name, names in parts.only_in.items():
        if names:
            other = "synthetic" if name == "real" else "real"
            listed = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
            warnings.append(
                f"{len(names)} of {len(parts.label_names)} classes: in the {name} set only, not in "
                f"the {other} one, so the sets differ by more than the quality of images: {listed}."
            )
    for name, swept in sets._asdict().items():
        if swept is not None and swept.broken:
            warnings.append(
                f"{swept.broken:,} {name} images could not be decoded and were left out."
            )
    repeated = _repeated(sets.synthetic)
    if repeated:
        warnings.append(
            f"{repeated:,} synthetic images are repetitions of others, as far as their thumbnails "
            "tell: metrics count them as if they were images of their own."
        )
    if parts.made is not None and parts.seeds is None:
        warnings.append(
            "The synthetic set was not made from these real images as they are now, so contact "
            "sheets show variants without their seeds."
        )
    return warnings

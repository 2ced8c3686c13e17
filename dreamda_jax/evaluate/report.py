"""The report: what was found, as one dict for machines and one page for people."""

import datetime
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dreamda_jax.algorithms.metrics.accuracy import per_class_accuracy, sole_prediction
from dreamda_jax.algorithms.metrics.intervals import mean_and_std
from dreamda_jax.data.files import atomic, run_settings
from dreamda_jax.data.sets import production_log, training_results
from dreamda_jax.evaluate import examine, numbers
from dreamda_jax.evaluate.advice import advice
from dreamda_jax.evaluate.build import Origin
from dreamda_jax.evaluate.examine import Sets
from dreamda_jax.evaluate.networks import FINGERPRINTS, Networks
from dreamda_jax.evaluate.page.page import write_page
from dreamda_jax.evaluate.pictures import Pictures, galleries
from dreamda_jax.evaluate.report_directory import FLAGGED, PAGE, REPORT
from dreamda_jax.options.evaluate import Evaluate
from dreamda_jax.runtime.sweep import Swept

_AUDIT = "audit"  # the key of its picture


def write_report(
    output: Path,
    networks: Networks,
    sets: Sets,
    pictures: Pictures,
    *,
    of: str,
    label_names: Sequence[str],
    only_in: Mapping[str, Sequence[str]],
    origin: Origin,
    classifiers: Sequence[Path],
    options: Evaluate,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """Measures, and writes `report.json`, `report.html` and `copies.jsonl`.

    Args:
      output: the directory.
      networks: what features are of.
      sets: all features.
      pictures: where images to show are read.
      of: what decides the report; see `report_directory.made_of`.
      label_names: the classes of all sets together.
      only_in: class names that one set has and the other has not, by set.
      origin: of the images to judge.
      classifiers: directories of trainings.
      options: of the metrics and pictures.
      settings: of the evaluation, to be shown beside those of the generation.

    Returns:
      What report.json holds: see `page.page.write_page`.

    Raises:
      UserError: a directory of `evaluate.classifiers` is damaged, or the disk is full.
    """
    channel, judged = networks.extractor.name, sets.synthetic
    seed_ids = examine.seeds_of(origin.made, judged)
    per_class, diversity = examine.classes(
        sets, channel=channel, label_names=label_names, seed_ids=seed_ids
    )
    searches = examine.copies_and_leaks(
        sets, pictures, channel=channel, label_names=label_names, options=options
    )
    sheets = galleries(
        judged,
        pictures,
        label_names=label_names,
        seed_ids=seed_ids,
        with_seeds=origin.seeds is not None,
        num_seeds=options.gallery_seeds,
        num_variants=options.gallery_variants,
    )
    audit = training_results.find_audit(classifiers)
    if audit is not None and audit.picture is not None:
        pictures.encoded[_AUDIT] = audit.picture
    report = {
        "format": 1,
        "made_of": of,
        "title": f"{judged.source.name}: evaluation",
        "created": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "versions": run_settings.software_versions(),
        "settings": {**origin.recorded, **settings},
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
        "metrics": examine.metrics(networks, sets, seed_ids=seed_ids, options=options),
        "per_class": per_class,
        "copies": {name: found.summary if found else None for name, found in searches.items()},
        "diversity": diversity,
        "accuracy": [_accuracy(directory, label_names) for directory in classifiers],
        "audit": _audit(audit) if audit else None,
        "cost": _cost(origin.directory, len(judged.source)),
        "warnings": [*_strangers(only_in, len(label_names)), *_warnings(sets, origin)],
    }
    report["advice"] = advice(report)
    flagged = [
        {"found_in": name, **pair}
        for name, found in searches.items()
        if found is not None
        for pair in found.flagged
    ]
    lines = b"".join(atomic.to_json(pair, indent=None) for pair in flagged)
    with atomic.disk_full_is_a_user_error(output, needed=len(lines) + 1_000_000):
        atomic.write_atomically(output / FLAGGED, lines)
        atomic.write_atomically(output / REPORT, atomic.to_json(report))
        write_page(output / PAGE, report, pictures.encoded, sheets)
    return report


def _set(swept: Swept) -> dict[str, Any]:
    return {
        "name": swept.source.name,
        "images": len(swept.places),
        "classes": len(np.unique(swept.row_labels)),
        "left_out": swept.broken,
    }


def _accuracy(directory: Path, label_names: Sequence[str]) -> dict[str, Any]:
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
            for name in dict.fromkeys((*label_names, *found.label_names))
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


def _strangers(only_in: Mapping[str, Sequence[str]], num_classes: int) -> list[str]:
    warnings = []
    for name, names in only_in.items():
        if names:
            other = "synthetic" if name == "real" else "real"
            listed = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
            warnings.append(
                f"{len(names)} of {num_classes} classes: in the {name} set only, not in "
                f"the {other} one, so the sets differ by more than the quality of images: {listed}."
            )
    return warnings


def _warnings(sets: Sets, origin: Origin) -> list[str]:
    warnings = []
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
    if origin.made is not None and origin.seeds is None:
        warnings.append(
            "The synthetic set was not made from these real images as they are now, so contact "
            "sheets show variants without their seeds."
        )
    return warnings

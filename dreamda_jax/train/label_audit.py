"""The label audit: which images were accepted, with which labels, and how good labels are."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from dreamda_jax.algorithms.metrics.labels import acceptance, label_precision, rejections
from dreamda_jax.data.drawing import save_figure
from dreamda_jax.data.files.atomic import to_json, write_atomically
from dreamda_jax.data.sets.verdicts import Verdicts
from dreamda_jax.train.audit_sheet import audit_sheet
from dreamda_jax.train.plots import name_classes

_KEPT, _CHANGED, _REJECTED = "#4c78a8", "#e0a030", "#d0d0d0"
_MOST_ROWS = 20
_REASONS = {
    "disagree": "heads disagree",
    "uncertain": "uncertain",
    "both": "both",
    "undecodable": "undecodable",
    "other": "other",
}
_SUBSETS = {
    "precision": "all it labels",
    "precision_on_accepted": "on the accepted",
    "precision_on_changed": "on the changed",
}


def audit(
    verdicts: Verdicts,
    *,
    label_names: Sequence[str],
    threshold: float,
    oracle: np.ndarray | None,
    labellings: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """Counts and compares; nothing is drawn.

    An oracle is a classifier trained on many more real images, itself right on some 90 % of them
    and on fewer synthetic ones. So the precision of even perfect labels stays near its accuracy,
    and differences between labellings say more than the values.

    Args:
      verdicts: of n images.
      label_names: c names.
      threshold: τ, on the uncertainty; of no matter to methods that have none.
      oracle: int [n], classes by the oracle; -1 where it has none, such as for images that cannot
        be decoded. None: no oracle.
      labellings: int [n] by name, such as {"seed": …, "amst": …}; -1 where it gives no label.

    Returns:
      What JSON can hold: "images", "accepted", "changed" (accepted with another class than the
      seed's), "threshold", "label_names", "classes" (counts by the seed's class), "changes" ([c][c]
      counts: row the seed's class, column the accepted one), "rejected" (counts by reason, those
      of `labels.Rejections`), and "labellings". The last is None without an oracle, else
      it has for each name its "coverage" (share of all images that it labels), its precision
      against the oracle on all images it labels, on those that were accepted, and on those
      accepted with a changed label, and the first two by the seed's class. All in [0, 1]; None
      where there is no image.

    Raises:
      ValueError: an oracle or a labelling of another number of images.
    """
    counts = acceptance(verdicts.seed_label, verdicts.pseudo_label, num_classes=len(label_names))
    reasons = rejections(
        verdicts.predictions,
        verdicts.uncertainty,
        verdicts.decoded,
        verdicts.accepted,
        threshold=threshold,
    )
    compared = None
    if oracle is not None:
        for name, labels in {"oracle": oracle, **labellings}.items():
            if labels.shape != verdicts.seed_label.shape:
                raise ValueError(
                    f"{name} has shape {labels.shape}, not {verdicts.seed_label.shape}"
                )
        compared = {
            name: _against(oracle, labels, verdicts, num_classes=len(label_names))
            for name, labels in labellings.items()
        }
    return {
        "images": len(verdicts.seed_label),
        "accepted": int(verdicts.accepted.sum()),
        "changed": int(counts.changed.sum()),
        "threshold": threshold,
        "label_names": list(label_names),
        "classes": [
            {
                "name": name,
                "images": int(counts.total[label]),
                "unchanged": int(counts.unchanged[label]),
                "changed": int(counts.changed[label]),
                "rejected": int(counts.rejected[label]),
            }
            for label, name in enumerate(label_names)
        ],
        "changes": counts.changes.tolist(),
        "rejected": reasons._asdict(),
        "labellings": compared,
    }


def audit_text(audit: Mapping[str, Any]) -> str:
    """What `audit` found as a table for the terminal; of many classes those least accepted."""
    n, accepted = audit["images"], audit["accepted"]
    compared = audit["labellings"] or {}
    lines = [
        f"accepted  {accepted:,} of {n:,} images{_share(accepted, n)}, "
        f"{audit['changed']:,} of them with another class than the seed's"
        f"{_share(audit['changed'], accepted)}",
        f"rejected  {n - accepted:,}: "
        + ", ".join(
            f"{_REASONS[reason]} {number:,}"
            for reason, number in audit["rejected"].items()
            if number or reason in ("disagree", "uncertain", "both")
        )
        + f" (uncertain: variance >= {audit['threshold']:g})",
        "",
    ]
    shown = _rows_shown(audit["classes"])
    rows = [["class", "images", "accepted", "", "changed", "mostly to", *compared]]
    for label in shown:
        row = audit["classes"][label]
        kept = row["unchanged"] + row["changed"]
        rows.append(
            [
                row["name"],
                f"{row['images']:,}",
                f"{kept:,}",
                _percent(kept / row["images"] if row["images"] else None),
                f"{row['changed']:,}",
                _mostly_to(audit, label),
                *(_percent(of["by_class"]["precision"][label]) for of in compared.values()),
            ]
        )
    lines += _table(rows, left=(0, 5))
    if len(shown) < len(audit["classes"]):
        rest = len(audit["classes"]) - len(shown)
        lines.append(f"… and {rest:,} classes of which a larger share was accepted: audit.json")
    if compared:
        rows = [["precision by the oracle", *compared]]
        for key, words in _SUBSETS.items():
            rows.append([words, *(_percent(of[key]) for of in compared.values())])
        rows.append(["images labelled", *(_percent(of["coverage"]) for of in compared.values())])
        lines += ["", *_table(rows, left=(0,))]
    return "\n".join(lines)


def acceptance_picture(audit: Mapping[str, Any], path: Path) -> None:
    """Draws for each class a bar of what was accepted, relabelled and rejected, the best on top.

    Args:
      audit: of `audit`; classes without images come last.
      path: of the PNG.
    """
    classes = audit["classes"]
    parts = ("unchanged", "changed", "rejected")
    counts = np.array([[row[part] for part in parts] for row in classes], np.int64)
    totals = counts.sum(axis=1)
    shares = counts / np.maximum(totals, 1)[:, None]
    order = np.lexsort((shares[:, 2], totals == 0))  # the last key is the first to sort by
    pitch = min(0.22, 30 / len(order))
    figure = Figure(figsize=(6.0, max(pitch * len(order), 1.0)))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    left = np.zeros(len(order))
    for column, (label, colour) in enumerate(
        (
            ("accepted", _KEPT),
            ("accepted with another class than the seed's", _CHANGED),
            ("rejected", _REJECTED),
        )
    ):
        widths = shares[order, column]
        axes.barh(range(len(order)), widths, left=left, height=0.75, color=colour, label=label)
        left += widths
    names = [classes[place]["name"] for place in order]
    size, every = name_classes(axes, names, pitch=pitch, axis="y")
    for row in range(0, len(order), every):
        total = totals[order[row]]
        kept = total - counts[order[row], 2]
        words = f"{kept / total:.1%} of {total:,}" if total else "no images"
        axes.text(1.02, row, words, fontsize=size, va="center")
    axes.set_xlim(0, 1)
    axes.set_ylim(len(order) - 0.5, -0.5)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_title(
        f"{audit['accepted']:,} of {audit['images']:,} images accepted, "
        f"{audit['changed']:,} with another class",
        pad=26,  # points, above the legend
    )
    axes.set_xlabel("share of the seed's class")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False, fontsize=9)
    save_figure(figure, path)


def write_audit(
    directory: Path,
    audit: Mapping[str, Any],
    verdicts: Verdicts,
    *,
    image_of: Callable[[int], np.ndarray | None],
) -> None:
    """Writes `audit.json`, `acceptance.png` and `audit.png`, each replacing an older one.

    Args:
      directory: an existing one.
      audit: of `audit`.
      verdicts: that it is of.
      image_of: uint8 [h, w, 3] of an image by its place in the verdicts; None: it has none.
    """
    write_atomically(directory / "audit.json", to_json(audit))
    acceptance_picture(audit, directory / "acceptance.png")
    audit_sheet(
        verdicts,
        label_names=audit["label_names"],
        image_of=image_of,
        path=directory / "audit.png",
    )


def _against(
    oracle: np.ndarray, labels: np.ndarray, verdicts: Verdicts, *, num_classes: int
) -> dict[str, Any]:
    accepted = verdicts.accepted
    changed = accepted & (verdicts.pseudo_label != verdicts.seed_label)

    def precision(mask: np.ndarray) -> float | None:
        share = label_precision(labels, oracle, mask)
        return None if math.isnan(share) else share

    of_class = [verdicts.seed_label == label for label in range(num_classes)]
    everything = np.ones_like(accepted)
    return {
        "coverage": float(np.mean(labels >= 0)) if len(labels) else None,
        "precision": precision(everything),
        "precision_on_accepted": precision(accepted),
        "precision_on_changed": precision(changed),
        "by_class": {
            "precision": [precision(mask) for mask in of_class],
            "precision_on_accepted": [precision(mask & accepted) for mask in of_class],
        },
    }


def _rows_shown(classes: Sequence[Mapping[str, Any]]) -> list[int]:
    """All classes, or of many those of which the smallest share was accepted, in their order."""
    if len(classes) <= _MOST_ROWS:
        return list(range(len(classes)))
    present = [label for label, row in enumerate(classes) if row["images"]]
    present.sort(key=lambda label: -classes[label]["rejected"] / classes[label]["images"])
    return sorted(present[:_MOST_ROWS])


def _mostly_to(audit: Mapping[str, Any], label: int) -> str:
    others = np.array(audit["changes"][label])
    others[label] = 0
    if not others.any():
        return ""
    most = int(others.argmax())
    return f"{audit['label_names'][most]} ({others[most]:,})"


def _share(part: int, whole: int) -> str:
    return f" ({part / whole:.1%})" if whole else ""


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _table(rows: Sequence[Sequence[str]], *, left: Sequence[int]) -> list[str]:
    """Lines of aligned cells; the columns `left` begin at the left, others end at the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]

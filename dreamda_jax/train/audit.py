"""The audit of a round's pseudo-labels, beside other labellings and an oracle's."""

import threading
from pathlib import Path

import jax
import numpy as np

from dreamda_jax.data.files import json_text
from dreamda_jax.data.sets.verdicts import Verdicts
from dreamda_jax.data.transforms import ImageError, decode_image
from dreamda_jax.models.classifiers.oracle import open_oracle
from dreamda_jax.runtime import devices
from dreamda_jax.train import label_audit
from dreamda_jax.train.build import Training
from dreamda_jax.train.build_self_training import LABELLINGS
from dreamda_jax.train.reference_labels import OracleLabels, clip_probabilities, oracle_labels


def audit_labels(
    parts: Training,
    mesh: jax.sharding.Mesh,
    verdicts: Verdicts,
    directory: Path,
    stop: threading.Event,
) -> bool:
    """Writes and prints the audit; False if `stop` was set before it was done.

    Args:
      parts: the checked configuration.
      mesh: for CLIP and the oracle, which speak only if `audit.oracle` is given.
      verdicts: of the round.
      directory: of the round.
      stop: ends it.

    Raises:
      UserError: the oracle or CLIP cannot be opened.
    """
    assert parts.self_training is not None
    amst = parts.self_training.amst
    oracle: OracleLabels | None = None
    labellings: dict[str, np.ndarray] = {}
    if parts.self_training.audit.oracle:
        oracle = oracle_labels(parts, mesh, stop)
        clip = None if oracle is None else clip_probabilities(parts, mesh, stop)
        if clip is None:
            return False
        labellings = {
            "seed": verdicts.seed_label,
            "soft": np.where(verdicts.decoded, verdicts.probabilities.argmax(-1), -1),
            "clip": np.where(clip["decoded"], clip["probabilities"].argmax(-1), -1),
            "amst": verdicts.pseudo_label,
        }
        if amst.pseudo_labels not in ("amst", "soft"):  # there were no heads to ask
            del labellings["soft"]
        if amst.pseudo_labels != "amst":
            name = amst.pseudo_labels if amst.pseudo_labels in LABELLINGS else "file"
            labellings[name] = labellings.pop("amst")
    audit = label_audit.audit(
        verdicts,
        label_names=parts.label_names,
        threshold=amst.threshold,
        oracle=None if oracle is None else oracle.classes,
        labellings=labellings,
    )
    audit["oracle"] = None if oracle is None else oracle.digest
    if devices.process_index() == 0:
        print(label_audit.audit_text(audit), flush=True)
        label_audit.write_audit(
            directory, audit, verdicts, image_of=lambda place: _image(parts, place)
        )
    return True


def is_audited(parts: Training, directory: Path) -> bool:
    """Whether a round's audit is there, with the word of the oracle that is asked for, if any."""
    assert parts.self_training is not None
    file, path = directory / "audit.json", parts.self_training.audit.oracle
    if not file.exists():
        return False
    if not path:
        return True
    return (
        json_text.parse(file.read_bytes())["oracle"] == open_oracle(path, parts.label_names).digest
    )


def _image(parts: Training, place: int) -> np.ndarray | None:
    assert parts.synthetic is not None
    try:
        example = parts.synthetic[place]
        return decode_image(
            example.content, resolution=parts.canvas, crop=parts.classifier.crop
        ).pixels
    except ImageError:
        return None

"""The audit of a round's pseudo-labels, beside other labellings and an oracle's."""

import threading
from pathlib import Path

import numpy as np

from dreamda_jax.data import sources
from dreamda_jax.data.files import json_text
from dreamda_jax.data.sets.verdicts import Verdicts
from dreamda_jax.data.transforms import ImageError, decode_image
from dreamda_jax.models.classifiers.oracle import open_oracle
from dreamda_jax.options.checkpoints import Clip
from dreamda_jax.options.self_training import Amst
from dreamda_jax.runtime import devices
from dreamda_jax.train import label_audit
from dreamda_jax.train.build_self_training import LABELLINGS
from dreamda_jax.train.reference_labels import OracleLabels, ReferenceLabels
from dreamda_jax.train.setups import Reading


class RoundAudit:
    """Audits the labels of a round; CLIP and an oracle speak only if an oracle is named.

    Args:
      source: the synthetic set.
      label_names: its classes.
      reading: how its images are read.
      amst: section "amst"; likewise clip.
      clip: asked beside the oracle.
      oracle: its path, or None.
      references: asks both.
    """

    def __init__(
        self,
        source: sources.Source,
        *,
        label_names: tuple[str, ...],
        reading: Reading,
        amst: Amst,
        clip: Clip,
        oracle: str | None,
        references: ReferenceLabels,
    ) -> None:
        self._source = source
        self._label_names = label_names
        self._reading = reading
        self._amst = amst
        self._clip = clip
        self._oracle = oracle
        self._references = references

    def is_written(self, directory: Path) -> bool:
        """Whether a round's audit is there, with the word of the oracle that is named, if any."""
        file = directory / "audit.json"
        if not file.exists():
            return False
        if not self._oracle:
            return True
        digest = open_oracle(self._oracle, self._label_names).digest
        return json_text.parse(file.read_bytes())["oracle"] == digest

    def write(self, verdicts: Verdicts, directory: Path, stop: threading.Event) -> bool:
        """Writes and prints the audit; False if `stop` was set before it was done.

        Args:
          verdicts: of the round.
          directory: of the round.
          stop: ends it.

        Raises:
          UserError: the oracle or CLIP cannot be opened.
        """
        oracle: OracleLabels | None = None
        labellings: dict[str, np.ndarray] = {}
        if self._oracle:
            oracle = self._references.oracle(self._oracle, stop)
            clip = None if oracle is None else self._references.clip(self._clip, stop)
            if clip is None:
                return False
            labellings = self._labellings(verdicts, clip)
        audit = label_audit.audit(
            verdicts,
            label_names=self._label_names,
            threshold=self._amst.threshold,
            oracle=None if oracle is None else oracle.classes,
            labellings=labellings,
        )
        audit["oracle"] = None if oracle is None else oracle.digest
        if devices.process_index() == 0:
            print(label_audit.audit_text(audit), flush=True)
            label_audit.write_audit(directory, audit, verdicts, image_of=self._image)
        return True

    def _labellings(self, verdicts: Verdicts, clip: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """By name the labels to compare with the oracle's."""
        labelling = self._amst.pseudo_labels
        found = {
            "seed": verdicts.seed_label,
            "soft": np.where(verdicts.decoded, verdicts.probabilities.argmax(-1), -1),
            "clip": np.where(clip["decoded"], clip["probabilities"].argmax(-1), -1),
            "amst": verdicts.pseudo_label,
        }
        if labelling not in ("amst", "soft"):  # there were no heads to ask
            del found["soft"]
        if labelling != "amst":
            found[labelling if labelling in LABELLINGS else "file"] = found.pop("amst")
        return found

    def _image(self, place: int) -> np.ndarray | None:
        try:
            return decode_image(
                self._source[place].content,
                resolution=self._reading.canvas,
                crop=self._reading.crop,
            ).pixels
        except ImageError:
            return None

"""Stage 2: every synthetic image is judged, and the verdicts are written beside the data set."""

import hashlib
import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dreamda_jax.algorithms.selftrain import heads
from dreamda_jax.algorithms.selftrain.pseudo_label import NO_LABEL, judge
from dreamda_jax.data import sources
from dreamda_jax.data.files import staging
from dreamda_jax.data.sets.label_file import LabelFile
from dreamda_jax.data.sets.verdicts import Verdicts, read_verdicts, write_verdicts
from dreamda_jax.data.sources.synthetic_source import SyntheticSource
from dreamda_jax.options.checkpoints import Clip
from dreamda_jax.options.self_training import Amst
from dreamda_jax.runtime import devices, image_sweep, program_notes
from dreamda_jax.train.amst_programs import AmstPrograms, stage_key
from dreamda_jax.train.build_self_training import LABELLINGS
from dreamda_jax.train.output import whole_set_view
from dreamda_jax.train.reference_labels import ReferenceLabels
from dreamda_jax.train.setups import Reading
from dreamda_jax.types import Params

_FILE = "verdicts.parquet"
_JUDGED = "judged"  # portions of a set half judged
_BESIDE = "verdicts"  # a folder in that of the data set


class Labelling:
    """Gives synthetic images their pseudo-labels, in the way section `amst` names.

    Args:
      source: the synthetic set, its labels in the order of the classifier's classes.
      directory: where it lies.
      expansion: at most so many variants of a seed image; 0: all.
      reading: how its images are read.
      amst: section "amst"; likewise clip.
      clip: asked where its labels are taken.
      programs: with the heads.
      references: asks CLIP.
      settings: that decide the result; written beside the verdicts.
      notes: of stage 2's program.

    Raises:
      UserError: a file of verdicts to take labels from cannot be read, or is of other classes.
    """

    def __init__(
        self,
        source: sources.Source,
        *,
        directory: Path,
        expansion: int,
        reading: Reading,
        amst: Amst,
        clip: Clip,
        programs: AmstPrograms,
        references: ReferenceLabels,
        settings: Mapping[str, Any],
        notes: program_notes.ProgramNotes,
    ) -> None:
        self._source = source
        self._directory = directory
        self._set = SyntheticSource(directory, expansion=expansion)
        self._reading = reading
        self._amst = amst
        self._clip = clip
        self._programs = programs
        self._references = references
        self._settings = settings
        self._notes = notes
        self._label_names = programs.network.label_names
        self._file = None
        if amst.pseudo_labels not in LABELLINGS:
            self._file = LabelFile(staging.local(amst.pseudo_labels), self._label_names)
        self.needs_heads = amst.pseudo_labels in ("amst", "soft")

    @property
    def head_names(self) -> tuple[str, ...]:
        """Of the columns of predictions."""
        return heads.head_names(self._programs.layout) if self.needs_heads else ()

    def label(
        self,
        directory: Path,
        variables: Params,
        seed: int,
        *,
        run: int,
        round_number: int,
        stop: threading.Event,
    ) -> Verdicts | None:
        """The verdict on every image; of a round that had been judged, as it is on the disk.

        Args:
          directory: of the round.
          variables: with heads, of the training so far.
          seed: of the run.
          run: its number, for the file's name; likewise the round's.
          round_number: from 1.
          stop: ends it; what is judged so far is kept.

        Raises:
          UserError: the file of verdicts to take labels from does not fit the set.
        """
        file = directory / _FILE
        if file.exists():
            return self.known(directory)
        directory.mkdir(parents=True, exist_ok=True)
        if self._file is not None:
            verdicts = self._by_file(self._file, directory, stop)
        elif self.needs_heads:
            verdicts = self._by_heads(directory, variables, seed, round_number, stop)
        elif self._amst.pseudo_labels == "clip":
            verdicts = self._by_clip(stop)
        else:
            verdicts = self._by_seed(directory, stop)
        if verdicts is not None and devices.process_index() == 0:
            self._write(file, verdicts, run, round_number)
            image_sweep.remove(directory / _JUDGED)
        return verdicts

    def known(self, directory: Path) -> Verdicts:
        """The verdicts of a round that had been judged.

        Raises:
          UserError: they are not there, or damaged.
        """
        return read_verdicts(directory / _FILE)[0]

    def _by_heads(
        self,
        directory: Path,
        variables: Params,
        seed: int,
        round_number: int,
        stop: threading.Event,
    ) -> Verdicts | None:
        key = stage_key(seed, "stage 2", round_number)
        found = self._sweep(
            lambda images, places: self._programs.judge(variables, key, images, places),
            directory,
            stop,
            notes=self._notes,
        )
        if found is None:
            return None
        uncertainty, accepted, label = judge(
            found["classes"], found["variances"], threshold=self._amst.threshold
        )
        if self._amst.pseudo_labels == "soft":
            accepted = np.ones_like(accepted)
            label = found["probabilities"].argmax(-1).astype(np.int32)
        return self._verdicts(
            found,
            predictions=found["classes"],
            uncertainty=uncertainty,
            accepted=accepted,
            label=label,
        )

    def _by_clip(self, stop: threading.Event) -> Verdicts | None:
        found = self._references.clip(self._clip, stop)
        if found is None:
            return None
        return self._verdicts(found, label=found["probabilities"].argmax(-1).astype(np.int32))

    def _by_seed(self, directory: Path, stop: threading.Event) -> Verdicts | None:
        found = self._decoded(directory, stop)
        return None if found is None else self._verdicts(found, label=found["labels"])

    def _by_file(self, file: LabelFile, directory: Path, stop: threading.Event) -> Verdicts | None:
        found = self._decoded(directory, stop)
        if found is None:
            return None
        given, chosen = file.of(self._identity(), found["labels"], what=str(self._directory))
        made = self._verdicts(
            found,
            label=chosen.pseudo_label,
            uncertainty=np.where(given, chosen.uncertainty, np.nan).astype(np.float32),
            accepted=chosen.accepted & given,
        )
        return made._replace(probabilities=chosen.probabilities)

    def _decoded(self, directory: Path, stop: threading.Event) -> dict[str, np.ndarray] | None:
        """The seeds' labels, and which images are whole."""
        return self._sweep(lambda images, places: {}, directory, stop)

    def _sweep(
        self,
        predict: image_sweep.Predict,
        directory: Path,
        stop: threading.Event,
        *,
        notes: program_notes.ProgramNotes = program_notes.NONE,
    ) -> dict[str, np.ndarray] | None:
        return image_sweep.sweep(
            self._programs.mesh,
            self._source,
            predict,
            view=whole_set_view(self._reading, self._source),
            directory=directory / _JUDGED,
            stop=stop,
            note="stage 2",
            notes=notes,
        )

    def _identity(self) -> list[tuple[int, int]]:
        return [self._set.seed_of(place) for place in range(len(self._set))]

    def _verdicts(
        self,
        found: dict[str, np.ndarray],
        *,
        label: np.ndarray,
        predictions: np.ndarray | None = None,
        uncertainty: np.ndarray | None = None,
        accepted: np.ndarray | None = None,
    ) -> Verdicts:
        decoded, count = found["decoded"], len(label)
        accepted = decoded if accepted is None else accepted & decoded
        seeds = self._identity()
        one_hot = np.eye(len(self._label_names), dtype=np.float32)[label]
        return Verdicts(
            seed_id=np.array([seed for seed, _ in seeds], np.int64),
            variant=np.array([variant for _, variant in seeds], np.int64),
            seed_label=found["labels"].astype(np.int32),
            predictions=np.zeros((count, 0), np.int32) if predictions is None else predictions,
            uncertainty=np.full(count, np.nan, np.float32) if uncertainty is None else uncertainty,
            accepted=accepted,
            pseudo_label=np.where(accepted, label, NO_LABEL).astype(np.int32),
            probabilities=found.get("probabilities", one_hot),
            decoded=decoded,
        )

    def _write(self, file: Path, verdicts: Verdicts, run: int, round_number: int) -> None:
        settings = json.dumps(self._settings, sort_keys=True, default=str)
        digest = hashlib.sha256(settings.encode()).hexdigest()[:8]
        metadata = {
            "method": self._amst.pseudo_labels,
            "threshold": self._amst.threshold,
            "run": run,
            "round": round_number,
            "settings": self._settings,
        }
        how = "file" if self._file else self._amst.pseudo_labels
        beside = self._directory / _BESIDE / f"{how}-{digest}-run{run}-round{round_number}.parquet"
        for path in (beside, file):  # a run goes on from its own; the other is to be found
            try:
                path.parent.mkdir(exist_ok=True)
                write_verdicts(
                    path,
                    verdicts,
                    label_names=self._label_names,
                    head_names=self.head_names,
                    metadata=metadata,
                )
            except OSError as error:
                if path == file:
                    raise
                print(f"note        no verdicts beside the data set: {error}", flush=True)
        print(f"verdicts    {beside if beside.exists() else file}", flush=True)

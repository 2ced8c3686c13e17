"""What a training is made from, checked and opened: a record for each method.

No weight and no pixel has been read yet.
"""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

from dreamda_jax.algorithms.augment.options import Augment
from dreamda_jax.algorithms.selftrain.options import Consistency
from dreamda_jax.data import sources
from dreamda_jax.data.transforms import Crop
from dreamda_jax.options import self_training as options
from dreamda_jax.options.checkpoints import Clip
from dreamda_jax.options.classifier import Audit
from dreamda_jax.options.training import Recipe, Train
from dreamda_jax.runtime import program_notes
from dreamda_jax.train.held_out import HeldOut
from dreamda_jax.train.identity import Identity
from dreamda_jax.train.network import NetworkSpec


class Length(NamedTuple):
    """How long a training, or a stage of it, lasts.

    Attributes:
      num_steps: optimizer steps of the whole.
      epoch_images: images of an epoch.
      batch_size: labelled images of a step, on all devices together.
    """

    num_steps: int
    epoch_images: int
    batch_size: int

    @property
    def steps_per_epoch(self) -> float:
        """Optimizer steps that show as many images as an epoch has."""
        return self.epoch_images / self.batch_size


class Reading(NamedTuple):
    """How images are read.

    Attributes:
      canvas: side to which they are decoded.
      crop: how they become squares; see `transforms.decode_image`.
      num_workers: processes that decode; 0 decodes in threads of this one.
    """

    canvas: int
    crop: Crop
    num_workers: int


class Description(NamedTuple):
    """Of a training, before anything is compiled.

    Attributes:
      text: its method in words.
      num_views: images that the network sees in a run, each view of each counted.
      stages: of a run, with the steps or images of each; the last is the main one.
    """

    text: str
    num_views: float
    stages: tuple[tuple[str, int], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setup:
    """What every method has.

    Attributes:
      job: section "train"; `checkpoint_every` is resolved.
      recipe: the numbers, the named recipe's with those of section "train" over them.
      length: of the training; of several stages, of the main one.
      network: the classifier.
      augment: section "augment".
      reading: how images are read.
      shown: what is trained on: real images where there are such, else synthetic ones.
      real: training images, or None.
      synthetic: training images made by `generate`, or None.
      held_out: images that accuracy is measured on.
      identity: what decides the result, for comparison when a run is taken up again.
      warnings: what a person should hear of the sets.
    """

    job: Train
    recipe: Recipe
    length: Length
    network: NetworkSpec
    augment: Augment
    reading: Reading
    shown: sources.Source
    real: sources.Source | None
    synthetic: sources.Source | None
    held_out: HeldOut
    identity: Identity
    warnings: list[str]

    @property
    def views_per_image(self) -> int:
        """Images that the network sees in a step of the main stage, for each labelled one."""
        return 1

    def describe(self) -> Description:
        """The method in words and in numbers."""
        raise NotImplementedError

    def notes_of(self, stage: str) -> program_notes.ProgramNotes:
        """What earlier runs left word of a stage, which takes as long at any learning rate.

        Args:
          stage: such as "supervised" or "stage 3".
        """
        depends_on = {
            "classifier": dataclasses.replace(self.network.options, weights=""),
            "image_size": self.network.image_size,
            "canvas": self.reading.canvas,
            "num_classes": len(self.network.label_names),
            "batch_size": self.recipe.batch_size,
            "optimizer": self.recipe.optimizer,
            "averaged": self.recipe.ema_decay > 0,
            "augment": self.augment,
            "fsdp": self.job.fsdp,
            "num_workers": self.reading.num_workers,
            "method": self._method_options,
        }
        return program_notes.notes_of(f"train, {stage}", depends_on)

    @property
    def _method_options(self) -> tuple[Any, ...]:
        """That a step's duration depends on."""
        return ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class SupervisedSetup(Setup):
    """Of method "supervised"; real or synthetic images are there, or both.

    Attributes:
      synthetic_ratio: share of synthetic images in the stream; None: as many as there are.
    """

    synthetic_ratio: float | None

    def describe(self) -> Description:
        """See `Setup`."""
        steps = self.length.num_steps
        return Description("supervised", self.length.batch_size * steps, (("supervised", steps),))


@dataclasses.dataclass(frozen=True, kw_only=True)
class AmstSetup(Setup):
    """Of method "amst"; section "augment" is the weak view.

    Attributes:
      synthetic_ratio: share of synthetic images in stage 3's stream; None: as many as there are.
      synthetic_directory: where the synthetic set lies.
      expansion: at most so many variants of a seed image; 0: all.
      strong: the strong view: section "augment" with section "strong" over it.
      consistency: the loss of images without a label.
      amst: section "amst".
      stage1: the length of the first stage.
      clip: section "clip".
      audit: section "audit".
    """

    real: sources.Source
    synthetic: sources.Source
    synthetic_ratio: float | None
    synthetic_directory: Path
    expansion: int
    strong: Augment
    consistency: Consistency
    amst: options.Amst
    stage1: Length
    clip: Clip
    audit: Audit

    @property
    def views_per_image(self) -> int:
        """See `Setup`."""
        labelled = 2 if self.amst.labelled_views == "both" else 1
        return labelled + (2 * self.amst.unlabelled_ratio if self.amst.consistency else 0)

    def describe(self) -> Description:
        """See `Setup`."""
        amst, steps, stage1_steps = self.amst, self.length.num_steps, self.stage1.num_steps
        batch_size, rounds = self.length.batch_size, self.amst.max_rounds
        more = f", {rounds} rounds" if rounds > 1 else ""
        return Description(
            f"amst, labels: {amst.pseudo_labels}, {stage1_steps:,} steps of stage 1{more}",
            2 * batch_size * stage1_steps
            + rounds * batch_size * steps * self.views_per_image
            + rounds * len(self.synthetic) / 3,  # stage 2 only looks
            (
                ("stage 1", stage1_steps),
                ("stage 2", rounds * len(self.synthetic)),
                ("stage 3", rounds * steps),
            ),
        )

    @property
    def _method_options(self) -> tuple[Any, ...]:
        return self.strong, self.consistency, self.amst


@dataclasses.dataclass(frozen=True, kw_only=True)
class SoftMatchSetup(Setup):
    """Of method "softmatch"; section "augment" is the weak view.

    Attributes:
      unlabelled: images without labels.
      strong: the strong view: section "augment" with section "strong" over it.
      consistency: the loss of images without a label.
      softmatch: section "softmatch".
    """

    real: sources.Source
    synthetic: None = None
    unlabelled: sources.Source
    strong: Augment
    consistency: Consistency
    softmatch: options.SoftMatch

    @property
    def views_per_image(self) -> int:
        """See `Setup`."""
        return 1 + 2 * self.softmatch.unlabelled_ratio

    def describe(self) -> Description:
        """See `Setup`."""
        steps, drawn = self.length.num_steps, self.softmatch.num_labels
        return Description(
            f"softmatch, {self.consistency.weighting} weights, {self.softmatch.unlabelled_ratio} "
            f"of {len(self.unlabelled):,} unlabelled images to each labelled one"
            + (f", {drawn:,} of them drawn" if drawn else ""),
            self.length.batch_size * steps * self.views_per_image,
            (("softmatch", steps),),
        )

    @property
    def _method_options(self) -> tuple[Any, ...]:
        return self.strong, self.consistency, self.softmatch

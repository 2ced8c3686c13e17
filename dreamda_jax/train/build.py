"""From a configuration to the checked objects that a classifier's training needs."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from dreamda_jax.algorithms.augment.options import Augment
from dreamda_jax.data import sources
from dreamda_jax.data.training_stream import epoch_length
from dreamda_jax.errors import UserError
from dreamda_jax.models.classifiers import registry
from dreamda_jax.options.classifier import Classifier, TrainingData
from dreamda_jax.options.sections import SECTIONS
from dreamda_jax.options.synthesis import Loader
from dreamda_jax.options.training import RECIPES, Recipe, Train
from dreamda_jax.runtime import devices
from dreamda_jax.settings import binding
from dreamda_jax.train import build_self_training, network
from dreamda_jax.train.held_out import HeldOut
from dreamda_jax.train.identity import identity
from dreamda_jax.train.images import ConfiguredImages, Images
from dreamda_jax.train.network import NetworkSpec
from dreamda_jax.train.setups import (
    AmstSetup,
    Length,
    Reading,
    SoftMatchSetup,
    SupervisedSetup,
)

_RECIPE_FIELDS = tuple(field.name for field in dataclasses.fields(Recipe))
_CHECKPOINTS = 50  # at most, by default: a tiny set has epochs of a few steps

OpenWeights = Callable[[Classifier, registry.Architecture], str | None]


def training(
    config: Mapping[str, Any],
    *,
    images: Images | None = None,
    open_weights: OpenWeights = network.find_weights,
    num_devices: int | None = None,
) -> SupervisedSetup | AmstSetup | SoftMatchSetup:
    """Checks a configuration and opens what it names.

    Args:
      config: the whole of it.
      images: where its sets come from; default: from this machine.
      open_weights: says where the classifier's first weights are.
      num_devices: that share a batch; default: those of this job.

    Returns:
      The record of the method that `train.method` names.

    Raises:
      UserError: a field is unknown or has a value that does not fit, or something it names is not
        there.
    """
    binding.check_sections(config, SECTIONS)
    builder = _Builder(config, images or ConfiguredImages(config), open_weights)
    builder.check_batch_size(devices.device_count() if num_devices is None else num_devices)
    make: dict[str, Callable[[], SupervisedSetup | AmstSetup | SoftMatchSetup]] = {
        "supervised": builder.supervised,
        "amst": builder.amst,
        "softmatch": builder.softmatch,
    }
    return make[builder.job.method]()


class _Builder:
    """The sections that every method has, and a record from them for each method.

    Args:
      config: the whole configuration.
      images: where its sets come from.
      open_weights: says where the classifier's first weights are.
    """

    def __init__(
        self, config: Mapping[str, Any], images: Images, open_weights: OpenWeights
    ) -> None:
        self._config, self._images, self._open_weights = config, images, open_weights
        self._classifier: Classifier = binding.bind(config, "classifier", Classifier)
        self._data: TrainingData = binding.bind(config, "data", TrainingData)
        self._augment: Augment = binding.bind(config, "augment", Augment)
        self._loader: Loader = binding.bind(config, "loader", Loader)
        self.job, self._recipe = _job_and_recipe(config)
        self._architecture = binding.choose(
            registry.ARCHITECTURES, self._classifier.name, "classifier.name"
        )
        self._image_size, self._canvas = network.image_sizes(self._classifier, self._architecture)

    def check_batch_size(self, num_devices: int) -> None:
        """Refuses a batch that devices cannot share."""
        size = self._recipe.batch_size
        if size % num_devices:
            raise UserError(
                f"train.batch_size={size} is the global batch and must be a multiple of the "
                f"{num_devices} devices of this job: take a multiple of {num_devices}, such as "
                f"{-(-size // num_devices) * num_devices}"
            )

    def supervised(self) -> SupervisedSetup:
        """Of real images, of synthetic ones, or of both."""
        if self._data.train_on == "synthetic":
            made = self._images.synthetic(self._data, label_names=None).source
            return self._supervised(made, real=None, synthetic=made)
        real, synthetic = self._images.real(), None
        if self._data.train_on == "mixed":
            synthetic = self._images.synthetic(self._data, label_names=real.label_names).source
        return self._supervised(real, real=real, synthetic=synthetic)

    def _supervised(
        self,
        shown: sources.Source,
        *,
        real: sources.Source | None,
        synthetic: sources.Source | None,
    ) -> SupervisedSetup:
        held_out, warnings = self._images.held_out(tuple(shown.label_names), real=real)
        return SupervisedSetup(
            **self._common(shown, real=real, synthetic=synthetic, held_out=held_out),
            warnings=warnings,
            synthetic_ratio=self._data.synthetic_ratio,
        )

    def amst(self) -> AmstSetup:
        """Of real and synthetic images."""
        real = self._images.real()
        made = self._images.synthetic(self._data, label_names=real.label_names)
        held_out, warnings = self._images.held_out(tuple(real.label_names), real=real)
        own = build_self_training.amst_sections(self._config, self._augment, real)
        return AmstSetup(
            **self._common(
                real,
                real=real,
                synthetic=made.source,
                held_out=held_out,
                labels_digest=own.labels_digest,
            ),
            warnings=warnings,
            synthetic_ratio=self._data.synthetic_ratio,
            synthetic_directory=made.directory,
            expansion=self._data.expansion,
            strong=own.strong,
            consistency=own.consistency,
            amst=own.amst,
            stage1=Length(
                num_steps=own.amst.stage1_steps or self._recipe.steps(len(real)),
                epoch_images=len(real),
                batch_size=self._recipe.batch_size,
            ),
            clip=own.clip,
            audit=own.audit,
        )

    def softmatch(self) -> SoftMatchSetup:
        """Of real images, and of such without labels."""
        real = self._images.real()
        held_out, warnings = self._images.held_out(tuple(real.label_names), real=real)
        own = build_self_training.softmatch_sections(self._config, self._augment, real)
        unlabelled = self._images.unlabelled(real.label_names, test=held_out.test)
        return SoftMatchSetup(
            **self._common(
                real, real=real, synthetic=None, held_out=held_out, unlabelled=unlabelled
            ),
            warnings=warnings,
            unlabelled=unlabelled,
            strong=own.strong,
            consistency=own.consistency,
            softmatch=own.softmatch,
        )

    def _common(
        self,
        shown: sources.Source,
        *,
        real: sources.Source | None,
        synthetic: sources.Source | None,
        held_out: HeldOut,
        unlabelled: sources.Source | None = None,
        labels_digest: str | None = None,
    ) -> dict[str, Any]:
        """What the records of all methods have, by name."""
        epoch_images = epoch_length(real, synthetic, self._data.synthetic_ratio)
        length = Length(
            num_steps=self._recipe.steps(epoch_images),
            epoch_images=epoch_images,
            batch_size=self._recipe.batch_size,
        )
        every = self.job.checkpoint_every or max(
            1, round(length.steps_per_epoch), -(-length.num_steps // _CHECKPOINTS)
        )
        sets = {"real": real, "synthetic": synthetic, **held_out._asdict()}
        found = identity(
            self._config,
            method=self.job.method,
            recipe=self._recipe,
            contents=self._images.contents({**sets, "unlabelled": unlabelled}),
            labels_digest=labels_digest,
        )
        return {
            "job": dataclasses.replace(self.job, checkpoint_every=every),
            "recipe": self._recipe,
            "length": length,
            "network": NetworkSpec(
                options=self._classifier,
                architecture=self._architecture,
                weights=self._open_weights(self._classifier, self._architecture),
                label_names=tuple(shown.label_names),
                image_size=self._image_size,
            ),
            "augment": self._augment,
            "reading": Reading(
                canvas=self._canvas,
                crop=self._classifier.crop,
                num_workers=self._loader.num_workers,
            ),
            "shown": shown,
            "real": real,
            "synthetic": synthetic,
            "held_out": held_out,
            "identity": found,
        }


def _job_and_recipe(config: Mapping[str, Any]) -> tuple[Train, Recipe]:
    section = config.get("train", {})
    numbers = {k: v for k, v in section.items() if k in _RECIPE_FIELDS and v is not None}
    rest = {k: v for k, v in section.items() if k not in _RECIPE_FIELDS}
    job = binding.bind({"train": rest}, "train", Train)
    named = dataclasses.asdict(binding.choose(RECIPES, job.recipe, "train.recipe"))
    return job, binding.bind({"train": {**named, **numbers}}, "train", Recipe)

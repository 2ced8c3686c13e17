"""From a configuration to the checked objects a classifier's training needs."""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dreamda_jax.algorithms.augment.options import Augment
from dreamda_jax.algorithms.selftrain.options import Consistency
from dreamda_jax.data import sources
from dreamda_jax.data.content import Content
from dreamda_jax.data.files import staging
from dreamda_jax.data.sources import classes
from dreamda_jax.data.sources.synthetic_source import SyntheticSource
from dreamda_jax.data.training_stream import epoch_length
from dreamda_jax.errors import UserError
from dreamda_jax.models.classifiers import registry, weight_files
from dreamda_jax.options.checkpoints import Clip
from dreamda_jax.options.classifier import Classifier, TrainingData
from dreamda_jax.options.sections import SECTIONS
from dreamda_jax.options.self_training import Amst, SoftMatch
from dreamda_jax.options.synthesis import Loader
from dreamda_jax.options.training import RECIPES, Recipe, Train
from dreamda_jax.runtime import devices as mesh
from dreamda_jax.runtime import set_content
from dreamda_jax.settings import binding
from dreamda_jax.train import build_self_training
from dreamda_jax.train.build_self_training import SelfTraining
from dreamda_jax.train.held_out import held_out_sets, refuse_leaks

_SECTIONS = ("source", "classifier", "data", "augment", "train", "validation", "test")
_RECIPE_FIELDS = tuple(field.name for field in dataclasses.fields(Recipe))
_CHECKPOINTS = 50  # at most, by default: a tiny set has epochs of a few steps


class Training(NamedTuple):
    """Everything but the parameters: no weight has been read yet.

    Attributes:
      settings: what decides the result, for comparison when a run is taken up again.
      defaults: by section what a field of the settings counts as that an older run lacks.
      job: section "train"; likewise classifier, data, augment and loader.
      recipe: the numbers, the named recipe's with those of section "train" over them.
      architecture: of the classifier.
      weights: a file, a directory or a hub id to start from; None: from scratch.
      label_names: classes, in the order of the labels of every set below.
      real: training images, or None.
      synthetic: training images made by `generate`, or None.
      validation: chooses the best weights, or None.
      test: is reported, or None.
      image_size: side that the network sees.
      canvas: side to which images are decoded.
      epoch_images: images of an epoch.
      num_steps: of the whole training.
      checkpoint_every: steps.
      stage1_steps: of AMST's first stage.
      synthetic_directory: where `synthetic` lies.
      self_training: what methods other than "supervised" need; else None.
      notes: what a person should hear of it.
      sets: by the name of their digest the sets and what is known of their images.
    """

    settings: dict[str, Any]
    defaults: dict[str, dict[str, Any]]
    job: Train
    classifier: Classifier
    data: TrainingData
    augment: Augment
    loader: Loader
    recipe: Recipe
    architecture: registry.Architecture
    weights: str | None
    label_names: tuple[str, ...]
    real: sources.Source | None
    synthetic: sources.Source | None
    validation: sources.Source | None
    test: sources.Source | None
    image_size: int
    canvas: int
    epoch_images: int
    num_steps: int
    checkpoint_every: int
    stage1_steps: int
    synthetic_directory: Path
    self_training: SelfTraining | None
    notes: list[str]
    sets: dict[str, tuple[sources.Source, Content | None]]

    @property
    def steps_per_epoch(self) -> float:
        """Optimizer steps that show as many images as an epoch has."""
        return self.epoch_images / self.recipe.batch_size


def training(config: dict[str, Any], *, verify: bool = False) -> Training:
    """Checks a configuration and opens what it names.

    Args:
      config: the whole of it.
      verify: reads every file, whatever is known from an earlier start.

    Raises:
      UserError: a field is unknown or has a value that does not fit, or something it names is not
        there.
    """
    binding.check_sections(config, SECTIONS)
    bind = functools.partial(binding.bind, config)
    classifier = bind("classifier", Classifier)
    data = bind("data", TrainingData)
    augment = bind("augment", Augment)
    loader = bind("loader", Loader)
    job, recipe = _job_and_recipe(config)
    if job.method == "amst":
        data = dataclasses.replace(data, train_on="mixed")
    elif job.method == "softmatch":
        data = dataclasses.replace(data, train_on="real")
    architecture = binding.choose(registry.ARCHITECTURES, classifier.name, "classifier.name")
    image_size, canvas = _image_sizes(classifier, architecture)
    _check_batch_size(recipe.batch_size, devices=mesh.device_count())
    directory = staging.local(data.synthetic or config["output"]["path"])
    real, synthetic = _training_sets(config, data, directory)
    label_names = (real or synthetic).label_names  # type: ignore[union-attr]
    held_out = held_out_sets(config, label_names)
    notes = refuse_leaks(real, held_out, verify=verify)
    sets = dict(held_out)
    found = None
    if job.method != "supervised":
        assert real is not None
        found = build_self_training.self_training(
            config, augment, method=job.method, real=real, test=held_out["test"]
        )
    epoch_images = epoch_length(real, synthetic, data.synthetic_ratio)
    num_steps = recipe.steps(epoch_images)
    stage1_steps = recipe.steps(len(real)) if real else 0
    if found and found.amst.stage1_steps:
        stage1_steps = found.amst.stage1_steps
    every = job.checkpoint_every or max(
        1, round(epoch_images / recipe.batch_size), -(-num_steps // _CHECKPOINTS)
    )
    if found and found.unlabelled:
        sets["unlabelled"] = found.unlabelled
    settings = _settings(config, job.method, recipe)
    known: dict[str, tuple[sources.Source, Content | None]] = {}
    for name, source in {"real": real, "synthetic": synthetic, **sets}.items():
        if source is not None:
            what = f"the images of section {name}"
            content = set_content.content_of(source, what=what, verify=verify)
            known[name] = (source, content)
            settings["sha256"] |= set_content.digests_of(
                source, name=name, verify=verify, known=content
            )
    if found and found.labels_digest:
        settings["sha256"]["labels"] = found.labels_digest
    return Training(
        settings,
        _defaults(config),
        job,
        classifier,
        data,
        augment,
        loader,
        recipe,
        architecture,
        _weights(classifier, architecture),
        tuple(label_names),
        real,
        synthetic,
        held_out["validation"],
        held_out["test"],
        image_size,
        canvas,
        epoch_images,
        num_steps,
        every,
        stage1_steps,
        directory,
        found,
        notes,
        known,
    )


def _job_and_recipe(config: Mapping[str, Any]) -> tuple[Train, Recipe]:
    section = config.get("train", {})
    numbers = {k: v for k, v in section.items() if k in _RECIPE_FIELDS and v is not None}
    rest = {k: v for k, v in section.items() if k not in _RECIPE_FIELDS}
    job = binding.bind({"train": rest}, "train", Train)
    named = dataclasses.asdict(binding.choose(RECIPES, job.recipe, "train.recipe"))
    return job, binding.bind({"train": {**named, **numbers}}, "train", Recipe)


def _image_sizes(classifier: Classifier, architecture: registry.Architecture) -> tuple[int, int]:
    """(side that the network sees, side to which images are decoded)."""
    image_size = classifier.image_size or architecture.image_size
    canvas = classifier.canvas or round(image_size * 8 / 7)
    if canvas < image_size:
        raise UserError(f"classifier.canvas={canvas} is smaller than the image size {image_size}")
    return image_size, canvas


def _check_batch_size(batch_size: int, *, devices: int) -> None:
    if batch_size % devices:
        raise UserError(
            f"train.batch_size={batch_size} is the global batch and must be a multiple of the "
            f"{devices} devices of this job"
        )


def _weights(classifier: Classifier, architecture: registry.Architecture) -> str | None:
    if classifier.weights == "scratch":
        return None
    if classifier.weights != "pretrained":
        if not weight_files.is_hub_id(classifier.weights):
            weight_files.find_weights(classifier.weights)  # raises now rather than after compiling
        return classifier.weights
    if architecture.hub_id is None:
        having = [name for name, known in registry.ARCHITECTURES.items() if known.hub_id]
        raise UserError(
            f"there are no standard ImageNet weights of {architecture.name}: use "
            "classifier.weights=scratch, or one of these classifiers: " + ", ".join(having)
        )
    return architecture.hub_id


def _training_sets(
    config: Mapping[str, Any], data: TrainingData, directory: Path
) -> tuple[sources.Source | None, sources.Source | None]:
    real: sources.Source | None = None
    synthetic: sources.Source | None = None
    if data.train_on != "synthetic":
        real = sources.open_source(**config["source"])
        classes.check_labels(real)
    if data.train_on != "real":
        try:
            synthetic = SyntheticSource(directory, expansion=data.expansion)
        except UserError as error:
            field = (
                "data.synthetic" if data.synthetic else "output.path, as data.synthetic is unset"
            )
            raise UserError(f"{error} (The directory is that of {field}.)") from error
        if real is not None:
            synthetic = classes.match_classes(
                real.label_names, synthetic, what=f"the synthetic set {directory}"
            )
    return real, synthetic


def _settings(config: Mapping[str, Any], method: str, recipe: Recipe) -> dict[str, Any]:
    sections = (*_SECTIONS, *build_self_training.SECTIONS.get(method, ()))
    settings = {name: dict(config.get(name, {})) for name in sections}
    for name in ("output", "num_runs", "log_every"):
        settings["train"].pop(name, None)  # a run may be moved, and more runs be added
    for name in ("source", "validation", "test", "unlabelled"):
        settings.get(name, {}).pop("path", None)  # so may images
    settings["train"].update(dataclasses.asdict(recipe))
    settings["data"].pop("synthetic", None)
    settings["sha256"] = {}
    return settings


def _defaults(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    held_out = {
        name: dict.fromkeys(config.get(name, {})) for name in ("validation", "test", "unlabelled")
    }
    return {
        **held_out,
        "source": sources.option_defaults(config["source"]["kind"]),
        "train": {**binding.defaults(Train), **binding.defaults(Recipe)},
        "classifier": binding.defaults(Classifier),
        "data": binding.defaults(TrainingData),
        "augment": binding.defaults(Augment),
        "strong": binding.defaults(Augment),
        "amst": binding.defaults(Amst),
        "softmatch": binding.defaults(SoftMatch),
        "consistency": binding.defaults(Consistency),
        "clip": binding.defaults(Clip),
    }

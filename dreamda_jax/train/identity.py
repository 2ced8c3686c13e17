"""What decides a training's result, in words that a run's directory keeps."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from dreamda_jax.algorithms.augment.options import Augment
from dreamda_jax.algorithms.selftrain.options import Consistency
from dreamda_jax.data import sources
from dreamda_jax.data.content import Content
from dreamda_jax.options.checkpoints import Clip
from dreamda_jax.options.classifier import Classifier, TrainingData
from dreamda_jax.options.self_training import Amst, SoftMatch
from dreamda_jax.options.training import Recipe, Train
from dreamda_jax.settings import binding

_SECTIONS = ("source", "classifier", "data", "augment", "train", "validation", "test")
_METHOD_SECTIONS = {
    "supervised": (),
    "amst": ("strong", "amst", "consistency", "clip"),
    "softmatch": ("strong", "softmatch", "consistency", "unlabelled"),
}


class Contents(NamedTuple):
    """What image sets are, by their bytes.

    Attributes:
      sets: by the name of their digest the sets and what is known of their images.
      digests: for the settings.
    """

    sets: dict[str, tuple[sources.Source, Content | None]]
    digests: dict[str, str]


class Identity(NamedTuple):
    """What a run is compared by when it is taken up again.

    Attributes:
      settings: what decides the result.
      defaults: by section what a field of the settings counts as that an older run lacks.
      sets: by the name of their digest the sets and what is known of their images.
    """

    settings: dict[str, Any]
    defaults: dict[str, dict[str, Any]]
    sets: dict[str, tuple[sources.Source, Content | None]]


def identity(
    config: Mapping[str, Any],
    *,
    method: str,
    recipe: Recipe,
    contents: Contents,
    labels_digest: str | None = None,
) -> Identity:
    """The identity of a training.

    Args:
      config: the whole configuration.
      method: a name of `Train.method`.
      recipe: the numbers, resolved.
      contents: of its sets.
      labels_digest: of the file of verdicts that labels are taken from, or None.
    """
    settings = {
        name: dict(config.get(name, {})) for name in (*_SECTIONS, *_METHOD_SECTIONS[method])
    }
    for name in ("output", "num_runs", "log_every"):
        settings["train"].pop(name, None)  # a run may be moved, and more runs be added
    for name in ("source", "validation", "test", "unlabelled"):
        settings.get(name, {}).pop("path", None)  # so may images
    settings["train"].update(dataclasses.asdict(recipe))
    settings["data"].pop("synthetic", None)
    settings["sha256"] = dict(contents.digests)
    if labels_digest is not None:
        settings["sha256"]["labels"] = labels_digest
    return Identity(settings=settings, defaults=_defaults(config), sets=contents.sets)


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

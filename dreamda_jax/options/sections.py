"""Every section of a configuration, whose options it holds, and which command reads it."""

from collections.abc import Mapping
from typing import Any

from dreamda_jax.algorithms.augment.options import Augment
from dreamda_jax.algorithms.selftrain.options import Consistency
from dreamda_jax.data.prompts import open_prompts
from dreamda_jax.data.sources.folder import open_folder
from dreamda_jax.data.sources.sample_source import SampleSource
from dreamda_jax.data.sources.tfds_source import open_tfds
from dreamda_jax.options.checkpoints import Clip, Model
from dreamda_jax.options.classifier import Audit, Classifier, TrainingData
from dreamda_jax.options.evaluate import Evaluate
from dreamda_jax.options.fields import Field, fields_of
from dreamda_jax.options.finetune import Finetune
from dreamda_jax.options.methods import METHODS
from dreamda_jax.options.prompts import Prompts
from dreamda_jax.options.self_training import STRONG, Amst, SoftMatch
from dreamda_jax.options.sources import OtherSet
from dreamda_jax.options.synthesis import Image, Loader, Output, Synthesis
from dreamda_jax.options.training import Recipe, Train

_RECORDS: dict[str, Any] = {
    "model": Model,
    "source": {"folder": open_folder, "tfds": open_tfds, "sample": SampleSource},
    "image": Image,
    "prompt": open_prompts,
    "method": METHODS,
    "synthesis": Synthesis,
    "output": Output,
    "loader": Loader,
    "classifier": Classifier,
    "data": TrainingData,
    "augment": Augment,
    "train": Train,
    "validation": OtherSet,
    "test": OtherSet,
    "strong": Augment,
    "amst": Amst,
    "softmatch": SoftMatch,
    "consistency": Consistency,
    "unlabelled": OtherSet,
    "clip": Clip,
    "audit": Audit,
    "evaluate": Evaluate,
    "finetune": Finetune,
    "prompts": Prompts,
}
SECTIONS = tuple(_RECORDS)
"""Of any configuration: one file serves every command, and each reads its own."""

_GENERATE = ("model", "source", "image", "prompt", "method", "synthesis", "output", "loader")
_TRAIN = (
    *("source", "output", "classifier", "data", "augment", "train", "validation", "test", "loader"),
    *("strong", "amst", "softmatch", "consistency", "unlabelled", "clip", "audit"),
)
_EVALUATE = ("evaluate", "source", "test", "output", "image", "clip", "loader")
_FINETUNE = ("finetune", "model", "source", "image", "prompt", "loader")
USED_BY: dict[str, tuple[str, ...]] = {
    "generate": (*_GENERATE, "clip"),
    "train": _TRAIN,
    "evaluate": _EVALUATE,
    "finetune": _FINETUNE,
    "prompts": ("prompts", "source"),
    "plan": tuple(dict.fromkeys((*_GENERATE, *_TRAIN, *_FINETUNE))),
    "reproduce": tuple(dict.fromkeys((*_GENERATE, *_TRAIN, *_EVALUATE))),
}
"""Sections that a command reads, those it is most about first."""


def section_fields(section: str) -> dict[str, tuple[Field, ...]]:
    """The options of a section.

    Returns:
      By the value that decides which there are (a method's name, a source's kind); "" where none
      does.
    """
    records = _RECORDS[section]
    if isinstance(records, Mapping):
        return {name: fields_of(record) for name, record in records.items()}
    fields = fields_of(records)
    if section == "train":  # what is not given is the recipe's
        fields += tuple(_may_be_left_out(field) for field in fields_of(Recipe))
    if section == "strong":
        fields = tuple(field for field in fields if field.name in STRONG)
        fields = tuple(field._replace(default=STRONG[field.name]) for field in fields)
    return {"": fields}


def _may_be_left_out(field: Field) -> Field:
    return field._replace(default=None, kind=field.kind | None)


def defaults_of(section: str, choice: str = "") -> dict[str, object]:
    """The default of every option of a section, by name."""
    return {field.name: field.default for field in section_fields(section)[choice]}

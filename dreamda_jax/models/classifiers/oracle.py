"""A classifier that knows better, to compare labels with; never to train on."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from dreamda_jax.algorithms.augment import policy
from dreamda_jax.data.files import staging
from dreamda_jax.data.sources.classes import label_mapping
from dreamda_jax.models.classifiers import pretrained, weight_files
from dreamda_jax.models.weights.load import Place
from dreamda_jax.types import Image, Params

SAMPLE = Path(__file__).parents[2] / "sample" / "oracle"
"""The packaged oracle of the embedded sample."""


class Oracle(NamedTuple):
    """A classifier of given classes.

    Attributes:
      variables: on the device(s).
      classify: `classify(variables, images)`: uint8 [b, s, s, 3] -> the class, int32 [b]; of the
        classes asked for, the likeliest.
      image_size: s.
      digest: of its files, hexadecimal.
    """

    variables: dict[str, Params]
    classify: Any
    image_size: int
    digest: str


def open_oracle(path: str, label_names: Sequence[str], *, place: Place = jax.device_put) -> Oracle:
    """Opens what `train` saved, or the packaged oracle.

    Args:
      path: a directory, or "sample".
      label_names: the classes to tell apart; it may know others besides.
      place: puts one array on the device(s).

    Raises:
      UserError: no such classifier, it is damaged, or it does not know one of the classes.
    """
    directory = SAMPLE if path == "sample" else staging.local(path)
    module, variables, config = pretrained.open_classifier(directory, place=place)
    columns = label_mapping(
        config.label_names, label_names, what="the images", whose=f"those of the oracle {path}"
    )
    classify = functools.partial(_classify, module, config, columns)
    digest = weight_files.digest(directory)
    return Oracle(variables, classify, config.image_size, digest)


def _classify(
    module: nn.Module,
    config: pretrained.ClassifierConfig,
    columns: tuple[int, ...],
    variables: dict[str, Params],
    images: Image,
) -> jax.Array:
    view = policy.eval_view(images, size=config.image_size, mean=config.mean, std=config.std)
    logits: Any = module.apply(variables, view, train=False)
    return jnp.argmax(logits[:, jnp.array(columns)], -1)

"""The classifier that is to be trained: its network, where it starts, and what it sees."""

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from dreamda_jax.algorithms import random_key
from dreamda_jax.errors import UserError
from dreamda_jax.models.classifiers import registry, weight_files
from dreamda_jax.options.classifier import Classifier
from dreamda_jax.runtime.flops import count_flops
from dreamda_jax.runtime.state import initial_variables

_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


class Size(NamedTuple):
    """How large a classifier is.

    Attributes:
      num_params: that are trained.
      forward_flops: of one image, nothing random.
    """

    num_params: int
    forward_flops: float


class NetworkSpec(NamedTuple):
    """A classifier before its first weight is drawn or read.

    Attributes:
      options: section "classifier".
      architecture: that it names.
      weights: a file, a directory or a hub id to start from; None: from scratch.
      label_names: classes, in the order of the labels.
      image_size: side that the network sees.
    """

    options: Classifier
    architecture: registry.Architecture
    weights: str | None
    label_names: tuple[str, ...]
    image_size: int

    def module(self) -> nn.Module:
        """The network; it holds no weight."""
        return self.architecture.build(
            len(self.label_names), _DTYPES[self.options.dtype], self.options.stem
        )

    def size(self) -> Size:
        """Counted without computing."""
        module, side = self.module(), self.image_size
        initialize = functools.partial(initial_variables, module, image_size=side)
        variables = jax.eval_shape(initialize, random_key.key(0))
        image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
        return Size(
            sum(leaf.size for leaf in jax.tree.leaves(variables["params"])),
            count_flops(functools.partial(module.apply, train=False), variables, image),
        )

    @property
    def view(self) -> dict[str, Any]:
        """Size and normalisation of its input, as the functions of `augment.policy` take them."""
        return {
            "size": self.image_size,
            "mean": self.architecture.mean,
            "std": self.architecture.std,
        }

    @property
    def shape(self) -> dict[str, Any]:
        """What a loss and an evaluation need to know of images and labels."""
        return {
            "num_classes": len(self.label_names),
            "image_size": self.image_size,
            "mean": self.architecture.mean,
            "std": self.architecture.std,
        }


def image_sizes(options: Classifier, architecture: registry.Architecture) -> tuple[int, int]:
    """(side that the network sees, side to which images are decoded).

    Raises:
      UserError: images would be decoded smaller than the network sees them.
    """
    image_size = options.image_size or architecture.image_size
    canvas = options.canvas or round(image_size * 8 / 7)
    if canvas < image_size:
        raise UserError(f"classifier.canvas={canvas} is smaller than the image size {image_size}")
    return image_size, canvas


def find_weights(options: Classifier, architecture: registry.Architecture) -> str | None:
    """Where a classifier's first weights are: a file, a directory or a hub id; None: nowhere.

    Raises:
      UserError: a file that is named is not there, or an architecture has no standard weights.
    """
    if options.weights == "scratch":
        return None
    if options.weights != "pretrained":
        if not weight_files.is_hub_id(options.weights):
            weight_files.find_weights(options.weights)  # raises now rather than after compiling
        return options.weights
    if architecture.hub_id is None:
        having = [name for name, known in registry.ARCHITECTURES.items() if known.hub_id]
        raise UserError(
            f"there are no standard ImageNet weights of {architecture.name}: use "
            "classifier.weights=scratch, or one of these classifiers: " + ", ".join(having)
        )
    return architecture.hub_id

"""Supervised training: cross-entropy on augmented images."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from dreamda_jax.algorithms.augment import policy
from dreamda_jax.types import AnyArray, Loss


class Labelled(NamedTuple):
    """A global batch of labelled images."""

    images: AnyArray
    """uint8 [b, h, w, 3], sRGB 0..255."""
    labels: AnyArray
    """int32 [b]."""


def supervised_loss(
    module: nn.Module,
    augment: policy.Augment,
    *,
    num_classes: int,
    image_size: int,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    label_smoothing: float,
) -> Loss:
    """The loss of the classifier's params and a `Labelled` batch, for `make_step`.

    Args:
      module: the classifier.
      augment: what is done to the training images.
      num_classes: of the labels.
      image_size: what the classifier sees; the batch may be larger.
      mean: of the input normalisation, on images in [0, 1].
      std: likewise.
      label_smoothing: share of the target spread over all classes.

    Returns:
      A loss whose metric is accuracy: of the augmented images, against the label before any mixing.
    """

    def loss(params, batch_stats, method_state: Any, key: jax.Array, batch: Labelled):
        augment_key, dropout_key = jax.random.split(key)
        targets = optax.smooth_labels(jax.nn.one_hot(batch.labels, num_classes), label_smoothing)
        images, targets = policy.train_view(
            augment, augment_key, batch.images, targets, size=image_size, mean=mean, std=std
        )
        logits, updated = module.apply(
            {"params": params, "batch_stats": batch_stats},
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": dropout_key},
        )
        metrics = {"accuracy": jnp.mean(jnp.argmax(logits, -1) == batch.labels)}
        mean_loss = optax.softmax_cross_entropy(logits, targets).mean()
        return mean_loss, (updated.get("batch_stats", {}), method_state, metrics)

    return loss

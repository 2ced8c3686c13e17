"""One step of supervised training: cross-entropy on augmented images."""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from dreamda_jax.data.augment import policy
from dreamda_jax.training.state import TrainState, update_state
from dreamda_jax.types import AnyArray


class Labelled(NamedTuple):
    """A global batch of labelled images."""

    images: AnyArray
    """uint8 [b, h, w, 3], sRGB 0..255."""
    labels: AnyArray
    """int32 [b]."""


Metrics = dict[str, jax.Array]
SupervisedStep = Callable[[jax.Array, TrainState, Labelled], tuple[TrainState, Metrics]]


def make_supervised_step(
    module: nn.Module,
    optimizer: optax.GradientTransformation,
    schedule: Callable[[jax.Array], jax.Array],
    augment: policy.Augment,
    *,
    num_classes: int,
    image_size: int,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    label_smoothing: float,
    ema_decay: float,
) -> SupervisedStep:
    """A pure function of a key, a state and a global batch; compile it with `jax.jit`.

    Random numbers derive from the key, the step and the row of the global batch, so neither the
    number of devices nor an interruption changes them.

    Args:
      module: the classifier.
      optimizer: from `make_optimizer`.
      schedule: its learning rate, for the metrics.
      augment: what is done to the training images.
      num_classes: of the labels.
      image_size: what the classifier sees; the batch may be larger.
      mean: of the input normalisation, on images in [0, 1].
      std: likewise.
      label_smoothing: share of the target spread over all classes.
      ema_decay: of the averaged weights.

    Returns:
      `step(key, state, batch) -> (state, metrics)`; metrics are float32 scalars: loss, accuracy (of
      the augmented images, against the label before any mixing), gradient_norm, learning_rate.
    """

    def step(key: jax.Array, state: TrainState, batch: Labelled) -> tuple[TrainState, Metrics]:
        augment_key, dropout_key = jax.random.split(jax.random.fold_in(key, state.step))
        targets = optax.smooth_labels(jax.nn.one_hot(batch.labels, num_classes), label_smoothing)
        images, targets = policy.train_view(
            augment, augment_key, batch.images, targets, size=image_size, mean=mean, std=std
        )

        def loss_of(params):
            logits, updated = module.apply(
                {"params": params, "batch_stats": state.batch_stats},
                images,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": dropout_key},
            )
            losses = optax.softmax_cross_entropy(logits, targets)
            return losses.mean(), (logits, updated.get("batch_stats", {}))

        (loss, (logits, batch_stats)), gradients = jax.value_and_grad(loss_of, has_aux=True)(
            state.params
        )
        metrics = {
            "loss": loss,
            "accuracy": jnp.mean(jnp.argmax(logits, -1) == batch.labels),
            "gradient_norm": optax.global_norm(gradients),
            "learning_rate": schedule(state.step),
        }
        state = update_state(state, gradients, batch_stats, optimizer, ema_decay=ema_decay)
        return state, metrics

    return step

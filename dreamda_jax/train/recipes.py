"""How a classifier is trained: numbers, recipes that have a name, and both as an optimizer."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from dreamda_jax.types import Params

_MAX_WARMUP_SHARE = 0.1  # of all steps, so that a short run is not all warm-up


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Optimizer, schedule and regularisation.

    Attributes:
      optimizer: "sgd" (with Nesterov momentum, as timm's) or "adamw".
      learning_rate: its peak.
      momentum: of SGD; β1 of AdamW.
      weight_decay: of matrices and convolutions; biases and normalisation are left alone, as timm
        does. SGD adds it to the gradient (L2), AdamW decouples it.
      batch_size: global, over all devices.
      num_epochs: how often the training set is seen.
      num_steps: optimizer steps instead of epochs, for comparisons at equal steps; 0: epochs count.
      schedule: "cosine" to zero, "cosine_7_16" (FixMatch's: cos(7/16 π t), which ends at a fifth
        of the peak), "step" (times `decay_rate` every `decay_epochs`) or "constant".
      warmup_epochs: of linear warm-up from `warmup_learning_rate`; at most a tenth of the steps.
      warmup_learning_rate: where the warm-up starts.
      decay_epochs: interval of "step".
      decay_rate: factor of "step".
      label_smoothing: share of the target spread over all classes.
      ema_decay: per step, of an average of the weights, which is then what is evaluated and
        exported; 0: none.
      clip_norm: largest global norm of the gradient; 0: not clipped.
    """

    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 1e-4
    batch_size: int = 64
    num_epochs: int = 100
    num_steps: int = 0
    schedule: Literal["cosine", "cosine_7_16", "step", "constant"] = "cosine"
    warmup_epochs: float = 0.0
    warmup_learning_rate: float = 0.0
    decay_epochs: float = 30.0
    decay_rate: float = 0.1
    label_smoothing: float = 0.0
    ema_decay: float = 0.0
    clip_norm: float = 0.0

    def __post_init__(self) -> None:
        for name in ("learning_rate", "batch_size", "num_epochs", "decay_epochs"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        for name in ("weight_decay", "num_steps", "warmup_epochs", "warmup_learning_rate"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        for name in ("momentum", "label_smoothing", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        if self.clip_norm < 0:
            raise ValueError(f"clip_norm must be 0 (off) or more, got {self.clip_norm}")
        if not 0 < self.decay_rate <= 1:
            raise ValueError(f"decay_rate must be in (0, 1], got {self.decay_rate}")

    def steps(self, epoch_images: int) -> int:
        """Optimizer steps of the whole training, for a training set of so many images."""
        return self.num_steps or max(1, round(self.num_epochs * epoch_images / self.batch_size))


RECIPES = {
    # train_noAMST.sh and train.py of the official release: eight GPUs with a batch of 8, timm's SGD
    # (Nesterov 0.9), a thousand epochs. timm moves the rate once an epoch, we at every step.
    "official": Recipe(num_epochs=1000, warmup_epochs=5, warmup_learning_rate=1e-5),
    # Training from scratch in GIF (Zhang et al., "Expanding Small-Scale Datasets with Guided
    # Imagination"), the protocol of the paper's from-scratch rows.
    "gif_scratch": Recipe(num_epochs=100, batch_size=256),
    # SoftMatch and FixMatch in USB (config/classic_cv), which counts steps.
    "softmatch": Recipe(
        learning_rate=0.03,
        weight_decay=5e-4,
        num_steps=2**20,
        schedule="cosine_7_16",
        ema_decay=0.999,
    ),
    # Common AdamW fine-tuning, for Swin.
    "adamw": Recipe(
        optimizer="adamw",
        learning_rate=1e-4,
        weight_decay=0.05,
        warmup_epochs=5,
        label_smoothing=0.1,
        clip_norm=1.0,
    ),
}


def learning_rate_schedule(
    recipe: Recipe, *, steps_per_epoch: float, num_steps: int
) -> Callable[[jax.typing.ArrayLike], jax.Array]:
    """The learning rate of step 0, 1, … num_steps - 1.

    As in timm without `warmup_prefix`: warm-up replaces the first part of the schedule rather than
    moving it. Cosine: lr/2 · (1 + cos(π t / num_steps)); FixMatch's: lr · cos(7π t / 16 num_steps).

    Args:
      recipe: which schedule.
      steps_per_epoch: to turn epochs into steps.
      num_steps: of the whole training.
    """
    peak = recipe.learning_rate
    warmup = min(recipe.warmup_epochs * steps_per_epoch, _MAX_WARMUP_SHARE * num_steps)

    def schedule(step: jax.typing.ArrayLike) -> jax.Array:
        t = jnp.asarray(step, jnp.float32)
        if recipe.schedule == "cosine":
            rate = peak * 0.5 * (1.0 + jnp.cos(jnp.pi * t / num_steps))
        elif recipe.schedule == "cosine_7_16":
            rate = peak * jnp.cos(7.0 / 16.0 * jnp.pi * t / num_steps)
        elif recipe.schedule == "step":
            interval = recipe.decay_epochs * steps_per_epoch
            rate = peak * recipe.decay_rate ** jnp.floor(t / interval)
        else:
            rate = jnp.full_like(t, peak)
        if warmup > 0:
            start = recipe.warmup_learning_rate
            rising = start + (peak - start) * t / warmup
            rate = jnp.where(t < warmup, rising, rate)
        return rate

    return schedule


def make_optimizer(
    recipe: Recipe, schedule: Callable[[jax.typing.ArrayLike], jax.Array]
) -> optax.GradientTransformation:
    """Clipping, weight decay, momentum or Adam, learning rate, in this order.

    SGD is torch's and timm's: decay is part of the gradient, before the momentum.
    """
    steps = [optax.clip_by_global_norm(recipe.clip_norm)] if recipe.clip_norm else []
    decay = optax.add_decayed_weights(recipe.weight_decay, mask=_decayed)
    if recipe.optimizer == "sgd":
        steps += [decay, optax.trace(decay=recipe.momentum, nesterov=True)]
    else:
        steps += [optax.scale_by_adam(b1=recipe.momentum), decay]
    return optax.chain(*steps, optax.scale_by_learning_rate(schedule))


def _decayed(params: Params) -> Params:
    def decayed(path: tuple[Any, ...], leaf: jax.Array) -> bool:
        # Biases of stacked heads have two axes.
        return leaf.ndim > 1 and getattr(path[-1], "key", None) != "bias"

    return jax.tree_util.tree_map_with_path(decayed, params)

"""How a classifier is trained, in numbers, and the recipes that have a name."""

import dataclasses
from typing import Literal


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

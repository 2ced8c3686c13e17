"""Section "train": the job, its numbers, and the recipes that have a name."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Train:
    """A training job; its numbers are in `Recipe`."""

    method: Literal["supervised", "amst", "softmatch"] = "supervised"
    """What is learnt from: "supervised": cross-entropy on the labels there are; "amst":
    self-training on real and synthetic images (section `amst`); "softmatch": semi-supervised
    training with an unlabelled set (sections `softmatch`, `unlabelled`)."""
    output: str = "runs/classifier"
    """A new directory, or one that an interrupted run of the same configuration made."""
    recipe: str = "official"
    """A name of `RECIPES`; every field of a recipe can be given beside it."""
    num_runs: int = 1
    """Trainings that differ in their seed only: `seed`, `seed` + 1, …"""
    seed: int = 0
    """Of initialisation, order and augmentation of the first run."""
    checkpoint_every: int = 0
    """Steps between two validations and checkpoints; 0: once an epoch, but at most fifty times in
    all."""
    log_every: int = 10
    """Steps between two lines of the log."""
    fsdp: int = 1
    """Over how many devices parameters and optimizer state are split."""

    def __post_init__(self) -> None:
        for name in ("num_runs", "log_every", "fsdp"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.checkpoint_every < 0:
            raise ValueError(f"checkpoint_every must be 0 or more, got {self.checkpoint_every}")
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed must be in [0, 2^31), got {self.seed}")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Optimizer, schedule and regularisation."""

    optimizer: Literal["sgd", "adamw"] = "sgd"
    """Which one: "sgd" (with Nesterov momentum, as timm's) or "adamw"."""
    learning_rate: float = 0.01
    """Its peak."""
    momentum: float = 0.9
    """Of SGD; β1 of AdamW."""
    weight_decay: float = 1e-4
    """Of matrices and convolutions; biases and normalisation are left alone, as timm does. SGD adds
    it to the gradient (L2), AdamW decouples it."""
    batch_size: int = 64
    """Global, over all devices."""
    num_epochs: int = 100
    """How often the training set is seen."""
    num_steps: int = 0
    """Optimizer steps instead of epochs, for comparisons at equal steps; 0: epochs count."""
    schedule: Literal["cosine", "cosine_7_16", "step", "constant"] = "cosine"
    """Of the learning rate: "cosine" to zero, "cosine_7_16" (FixMatch's: cos(7/16 π t), which ends
    at a fifth of the peak), "step" (times `decay_rate` every `decay_epochs`) or "constant"."""
    warmup_epochs: float = 0.0
    """Of linear warm-up from `warmup_learning_rate`; at most a tenth of the steps."""
    warmup_learning_rate: float = 0.0
    """Where the warm-up starts."""
    decay_epochs: float = 30.0
    """Interval of "step"."""
    decay_rate: float = 0.1
    """Factor of "step"."""
    label_smoothing: float = 0.0
    """Share of the target spread over all classes."""
    ema_decay: float = 0.0
    """Per step, of an average of the weights, which is then what is evaluated and exported; 0:
    none."""
    clip_norm: float = 0.0
    """Largest global norm of the gradient; 0: not clipped."""

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

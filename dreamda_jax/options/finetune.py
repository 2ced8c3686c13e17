"""Section "finetune" of a configuration, checked."""

import dataclasses
import math
from typing import Literal

from dreamda_jax.algorithms.diffusion.loss_weights import Weighting
from dreamda_jax.errors import UserError

Method = Literal["full", "lora", "textual_inversion"]

# Those of diffusers' training scripts for the three methods.
_LEARNING_RATES: dict[str, float] = {"full": 1e-5, "lora": 1e-4, "textual_inversion": 5e-4}


@dataclasses.dataclass(frozen=True)
class Finetune:
    """A fine-tuning job."""

    method: Method = "full"
    """What is trained: "full" (the whole U-Net), "lora" (its attention projections) or
    "textual_inversion" (a new token per class, all networks frozen)."""
    output: str = "runs/finetuned"
    """A new directory, or one that an interrupted run of the same configuration made."""
    cache: str = "runs/latents"
    """Directory of latents and text embeddings, shared by all runs on the same images, one of which
    computes them while no other does."""
    num_steps: int = 1000
    """Optimizer steps."""
    batch_size: int = 8
    """Images of a step, over all devices."""
    accumulation: int = 1
    """Portions that a step takes its batch in, one after the other, to save memory."""
    learning_rate: float | None = None
    """Its peak; None: 1e-5 (full), 1e-4 (lora), 5e-4 (textual_inversion)."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Of the learning rate: "constant" or "cosine" to zero, after the warm-up."""
    warmup_steps: int = 50
    """Of linear warm-up from 0."""
    beta1: float = 0.9
    """Of AdamW."""
    beta2: float = 0.999
    """Of AdamW."""
    weight_decay: float = 1e-2
    """Of AdamW, on all trained parameters."""
    clip_norm: float = 1.0
    """Largest global norm of the gradient; 0: not clipped."""
    ema_decay: float = 0.9999
    """Of the average of the trained parameters, which is what is saved; it rises to this as in
    diffusers, (1 + step) / (10 + step); 0: no average."""
    weighting: Weighting = "p2"
    """Of noise levels in the loss: "p2" (the paper's), "min_snr" or "none"."""
    p2_gamma: float = 1.0
    """γ of "p2"; 1 or 0.5."""
    p2_k: float = 1.0
    """k of "p2"."""
    min_snr_gamma: float = 5.0
    """γ of "min_snr"."""
    flip: bool = True
    """Mirror half of the images."""
    prompt_dropout: float = 0.1
    """Share of images trained with the empty prompt, for guidance; not of textual_inversion."""
    sample_posterior: bool = True
    """Draw from the VAE's posterior at every step, as diffusers does; else its mean."""
    lora_rank: int = 8
    """r of "lora"."""
    lora_alpha: float = 8.0
    """α of "lora"; the update is scaled by α/r."""
    num_vectors: int = 1
    """Tokens of each class, of "textual_inversion"."""
    remat: bool = True
    """Compute activations twice rather than keep them: less memory, a third more time."""
    fsdp: int = 0
    """Over how many devices parameters, average and optimizer state are split; 0: all."""
    seed: int = 0
    """Of every random draw."""
    log_every: int = 10
    """Steps between two lines of the log."""
    checkpoint_every: int = 0
    """Steps between two checkpoints; 0: a tenth of all."""
    sample_every: int = 0
    """Steps between two sheets of pictures; 0: with each checkpoint."""
    num_samples: int = 16
    """Pictures on a sheet, prompts and noise always the same; 0: none."""
    sample_steps: int = 50
    """DDIM steps of a picture."""
    sample_guidance_scale: float = 7.5
    """Of a picture."""

    def __post_init__(self) -> None:
        at_least = {
            1: (
                *("num_steps", "batch_size", "accumulation", "log_every", "sample_steps"),
                *("lora_rank", "num_vectors"),
            ),
            0: (
                *("warmup_steps", "weight_decay", "clip_norm", "p2_gamma", "fsdp", "num_samples"),
                *("checkpoint_every", "sample_every", "sample_guidance_scale"),
            ),
        }
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{field.name} must be a finite number, got {value}")
        for least, names in at_least.items():
            for name in names:
                if getattr(self, name) < least:
                    raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        for name in ("beta1", "beta2", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        for name in ("p2_k", "min_snr_gamma", "lora_alpha"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if not 0 <= self.prompt_dropout <= 1:
            raise ValueError(f"prompt_dropout must be in [0, 1], got {self.prompt_dropout}")
        if self.learning_rate is not None and self.learning_rate <= 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")
        if self.batch_size % self.accumulation:
            raise ValueError(
                f"batch_size={self.batch_size} must be a multiple of "
                f"accumulation={self.accumulation}"
            )
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed must be in [0, 2^31), got {self.seed}")

    @property
    def peak_learning_rate(self) -> float:
        """The one given, or the method's."""
        return self.learning_rate or _LEARNING_RATES[self.method]

    @property
    def steps_per_checkpoint(self) -> int:
        """Steps between two checkpoints."""
        return self.checkpoint_every or max(1, self.num_steps // 10)

    @property
    def steps_per_sheet(self) -> int:
        """Steps between two sheets of pictures."""
        return self.sample_every or self.steps_per_checkpoint


def check_dtype(dtype: str) -> None:
    """Refuse to train in float16 (UserError), whose gradients need a scaled loss."""
    if dtype == "float16":
        raise UserError(
            "model.dtype=float16: networks cannot be fine-tuned in it, because gradients become "
            "zero below 6e-8. Take --config.model.dtype=float32, or bfloat16 where the device has "
            "it. What is made from the result may be float16."
        )

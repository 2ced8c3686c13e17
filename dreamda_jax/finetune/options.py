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
    """A fine-tuning job.

    Attributes:
      method: "full" (the whole U-Net), "lora" (its attention projections) or "textual_inversion" (a
        new token per class, all networks frozen).
      output: a new directory, or one that an interrupted run of the same configuration made.
      cache: directory of latents and text embeddings, shared by all runs on the same images,
        one of which computes them while no other does.
      num_steps: optimizer steps.
      batch_size: images of a step, over all devices.
      accumulation: portions that a step takes its batch in, one after the other, to save memory.
      learning_rate: its peak; None: 1e-5 (full), 1e-4 (lora), 5e-4 (textual_inversion).
      schedule: "constant" or "cosine" to zero, after the warm-up.
      warmup_steps: of linear warm-up from 0.
      beta1: of AdamW.
      beta2: of AdamW.
      weight_decay: of AdamW, on all trained parameters.
      clip_norm: largest global norm of the gradient; 0: not clipped.
      ema_decay: of the average of the trained parameters, which is what is saved; it rises to this
        as in diffusers, (1 + step) / (10 + step); 0: no average.
      weighting: of noise levels in the loss: "p2" (the paper's), "min_snr" or "none".
      p2_gamma: γ of "p2"; 1 or 0.5.
      p2_k: k of "p2".
      min_snr_gamma: γ of "min_snr".
      flip: mirror half of the images.
      prompt_dropout: share of images trained with the empty prompt, for guidance; not of
        textual_inversion.
      sample_posterior: draw from the VAE's posterior at every step, as diffusers does; else its
        mean.
      lora_rank: r of "lora".
      lora_alpha: α of "lora"; the update is scaled by α/r.
      num_vectors: tokens of each class, of "textual_inversion".
      remat: compute activations twice rather than keep them: less memory, a third more time.
      fsdp: over how many devices parameters, average and optimizer state are split; 0: all.
      seed: of every random draw.
      log_every: steps between two lines of the log.
      checkpoint_every: steps between two checkpoints; 0: a tenth of all.
      sample_every: steps between two sheets of pictures; 0: with each checkpoint.
      num_samples: pictures on a sheet, prompts and noise always the same; 0: none.
      sample_steps: DDIM steps of a picture.
      sample_guidance_scale: of a picture.
    """

    method: Method = "full"
    output: str = "runs/finetuned"
    cache: str = "runs/latents"
    num_steps: int = 1000
    batch_size: int = 8
    accumulation: int = 1
    learning_rate: float | None = None
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_steps: int = 50
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 1e-2
    clip_norm: float = 1.0
    ema_decay: float = 0.9999
    weighting: Weighting = "p2"
    p2_gamma: float = 1.0
    p2_k: float = 1.0
    min_snr_gamma: float = 5.0
    flip: bool = True
    prompt_dropout: float = 0.1
    sample_posterior: bool = True
    lora_rank: int = 8
    lora_alpha: float = 8.0
    num_vectors: int = 1
    remat: bool = True
    fsdp: int = 0
    seed: int = 0
    log_every: int = 10
    checkpoint_every: int = 0
    sample_every: int = 0
    num_samples: int = 16
    sample_steps: int = 50
    sample_guidance_scale: float = 7.5

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

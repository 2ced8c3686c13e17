"""Sections "model" and "clip": which networks are loaded."""

import dataclasses
from typing import Any, Literal


@dataclasses.dataclass(frozen=True)
class Scheduler:
    """Fields of the noise schedule that are to be other than in the checkpoint's own config."""

    num_train_timesteps: int | None = None
    """Steps that the network was trained on."""
    beta_start: float | None = None
    """β of the first of them."""
    beta_end: float | None = None
    """β of the last."""
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] | None = None
    """How β runs between them."""
    steps_offset: int | None = None
    """Added to every timestep of "leading" spacing; 1 in Stable Diffusion."""
    set_alpha_to_one: bool | None = None
    """Whether ᾱ after the last step is 1 rather than ᾱ_0; false in Stable Diffusion."""
    timestep_spacing: Literal["leading", "trailing", "linspace"] | None = None
    """How the executed timesteps lie among all."""
    prediction_type: Literal["epsilon", "v_prediction"] | None = None
    """What the network was trained to predict."""
    clip_sample: Literal[False] | None = None
    """Only false is implemented: for a checkpoint whose file says otherwise."""
    thresholding: Literal[False] | None = None
    """Likewise."""
    rescale_betas_zero_snr: Literal[False] | None = None
    """Likewise."""

    def __post_init__(self) -> None:
        if self.num_train_timesteps is not None and self.num_train_timesteps < 2:
            raise ValueError(
                f"num_train_timesteps must be at least 2, got {self.num_train_timesteps}"
            )
        if self.steps_offset is not None and self.steps_offset < 0:
            raise ValueError(f"steps_offset must not be negative, got {self.steps_offset}")
        for name in ("beta_start", "beta_end"):
            beta = getattr(self, name)
            if beta is not None and not 0 < beta < 1:
                raise ValueError(f"{name} must lie between 0 and 1, got {beta}")

    @property
    def given(self) -> dict[str, Any]:
        """The fields that were given a value."""
        return {
            name: value for name, value in dataclasses.asdict(self).items() if value is not None
        }


@dataclasses.dataclass(frozen=True)
class Model:
    """Which checkpoint."""

    path: str = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    """A directory in diffusers' layout, a hub id, or "sample" for the packaged tiny model."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    """Of parameters and network computation; scheduler arithmetic is always float32. "float16" is
    for cards whose tensor cores know no bfloat16 (T4, V100): the VAE, which overflows in it, is
    float32 then, and nothing can be trained."""
    attention: Literal["auto", "plain"] = "auto"
    """Of the U-Net's image tokens to each other when images are made: "auto" takes a fused kernel
    on GPUs since Ampere (bfloat16) and TPUs, "plain" none."""
    variant: str | None = None
    """Which of a checkpoint's weights, such as "fp16" or "non_ema", as diffusers names their files;
    None: the plain ones, or the only variant there is."""
    scheduler: Scheduler = Scheduler()
    """What of the noise schedule is to be other than the checkpoint says."""


@dataclasses.dataclass(frozen=True)
class Clip:
    """Which CLIP tells classes without training."""

    path: str = "openai/clip-vit-large-patch14"
    """A directory in transformers' layout, a hub id, or "sample" for the packaged tiny one."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    template: str = "a photo of a {class}"
    """The prompt of a class."""

"""The sections of a configuration as checked values; `command_line.bind` fills them.

The method's section is the method's own dataclass, the source's is the keyword arguments of the
source.
"""

import dataclasses
from typing import Any, Literal

SECTIONS = (
    *("model", "source", "image", "prompt", "method", "synthesis", "output", "loader"),
    *("classifier", "data", "augment", "train", "validation", "test"),
    *("strong", "amst", "softmatch", "consistency", "unlabelled", "clip", "audit"),
    *("evaluate", "finetune", "prompts"),
)
"""Of any configuration: one file serves every entry point, and each reads its own."""


@dataclasses.dataclass(frozen=True)
class Scheduler:
    """Fields of the noise schedule that are to be other than in the checkpoint's own config.

    Attributes:
      num_train_timesteps: steps that the network was trained on.
      beta_start: β of the first of them.
      beta_end: β of the last.
      beta_schedule: how β runs between them.
      steps_offset: added to every timestep of "leading" spacing; 1 in Stable Diffusion.
      set_alpha_to_one: whether ᾱ after the last step is 1 rather than ᾱ_0; false in Stable
        Diffusion.
      timestep_spacing: how the executed timesteps lie among all.
      prediction_type: what the network was trained to predict.
      clip_sample: only false is implemented: for a checkpoint whose file says otherwise.
      thresholding: likewise.
      rescale_betas_zero_snr: likewise.
    """

    num_train_timesteps: int | None = None
    beta_start: float | None = None
    beta_end: float | None = None
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] | None = None
    steps_offset: int | None = None
    set_alpha_to_one: bool | None = None
    timestep_spacing: Literal["leading", "trailing", "linspace"] | None = None
    prediction_type: Literal["epsilon", "v_prediction"] | None = None
    clip_sample: Literal[False] | None = None
    thresholding: Literal[False] | None = None
    rescale_betas_zero_snr: Literal[False] | None = None

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
    """Which checkpoint.

    Attributes:
      path: a directory in diffusers' layout, a hub id, or "sample" for the packaged tiny model.
      revision: branch, tag or commit of a hub id.
      dtype: of parameters and network computation; scheduler arithmetic is always float32.
      attention: of the U-Net's image tokens to each other when images are made: "auto" takes a
        fused kernel on GPUs since Ampere (bfloat16) and TPUs, "plain" none.
      variant: which of a checkpoint's weights, such as "fp16" or "non_ema", as diffusers names
        their files; None: the plain ones, or the only variant there is.
      scheduler: what of the noise schedule is to be other than the checkpoint says.
    """

    path: str
    revision: str | None = None
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    attention: Literal["auto", "plain"] = "auto"
    variant: str | None = None
    scheduler: Scheduler = Scheduler()


@dataclasses.dataclass(frozen=True)
class Image:
    """How seed images become squares.

    Attributes:
      resolution: side in pixels.
      crop: "center" (short side to size, then cut) or "squash" (both sides to size).
    """

    resolution: int = 512
    crop: Literal["center", "squash"] = "center"


@dataclasses.dataclass(frozen=True)
class Synthesis:
    """How much to make, and in which portions.

    Attributes:
      num_variants: synthetic images per seed image: the expansion.
      max_seeds: take only so many seed images, evenly spread over the set; 0 takes all.
      seed: of every random draw.
      seeds_per_device: seed images per call of the program on one device.
      seeds_per_shard: seed images whose variants share an output file, the unit of resumption.
    """

    num_variants: int = 10
    max_seeds: int = 0
    seed: int = 0
    seeds_per_device: int = 1
    seeds_per_shard: int = 8

    def __post_init__(self) -> None:
        for name in ("num_variants", "seeds_per_device", "seeds_per_shard"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.seeds_per_shard % self.seeds_per_device:
            raise ValueError(
                f"seeds_per_shard={self.seeds_per_shard} must be a multiple of "
                f"seeds_per_device={self.seeds_per_device}"
            )
        if self.max_seeds < 0:
            raise ValueError(f"max_seeds must be 0 (all) or more, got {self.max_seeds}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be in [0, 2^32), got {self.seed}")


@dataclasses.dataclass(frozen=True)
class Output:
    """Where the synthetic set goes.

    Attributes:
      path: a new directory, or one that an interrupted run of the same configuration made.
      format: of the images.
      quality: 1 to 95, of JPEG.
    """

    path: str
    format: Literal["png", "jpeg"] = "png"
    quality: int = 95

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 95:
            raise ValueError(f"quality must be in [1, 95], got {self.quality}")


@dataclasses.dataclass(frozen=True)
class Loader:
    """How seed images are read; changes no output.

    Attributes:
      num_workers: worker processes that decode; 0 decodes in threads of the main process.
    """

    num_workers: int = 4

    def __post_init__(self) -> None:
        if self.num_workers < 0:
            raise ValueError(f"num_workers must not be negative, got {self.num_workers}")


@dataclasses.dataclass(frozen=True)
class Clip:
    """Which CLIP tells classes without training.

    Attributes:
      path: a directory in transformers' layout, a hub id, or "sample" for the packaged tiny one.
      revision: branch, tag or commit of a hub id.
      template: the prompt of a class.
    """

    path: str = "sample"
    revision: str | None = None
    template: str = "a photo of a {class}"

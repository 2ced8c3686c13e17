"""Options of every method: how images are made, without the code that makes them.

Nothing of JAX is imported, so that the options can be listed, checked and written down at once. The
methods themselves are subclasses of these records, in files of their names.
"""

import dataclasses
import math
from typing import Any, ClassVar, Literal

from dreamda_jax.algorithms.diffusion.schedule import Solver
from dreamda_jax.settings.checks import check_choices, check_not_negative

LATENT_SITES = ("x_T", "x_t", "x_0")
"""What can be perturbed outside the U-Net."""


@dataclasses.dataclass(frozen=True)
class PlainOptions:
    """Options of sampling; the defaults are diffusers'."""

    num_inference_steps: int = 50
    """N, the length of the sub-sequence of timesteps."""
    eta: float = 0.0
    """In [0, 1]; 0 is deterministic DDIM, 1 has DDPM's variance."""
    guidance_scale: float = 7.5
    """Classifier-free guidance; 1 switches it off and halves the cost."""
    variants_per_pass: int = 5
    """At most how many variants of a seed go through the networks together; 0 is all."""

    def __post_init__(self) -> None:
        check_choices(self)
        check_not_negative(self, "guidance_scale", "variants_per_pass")


@dataclasses.dataclass(frozen=True)
class DreamDAOptions:
    """Options of the method; the defaults are the paper's."""

    num_inference_steps: int = 100
    """N, the length of the sub-sequence of timesteps."""
    strength: float = 0.8
    """In (0, 1]; the last `int(N · strength)` steps are executed."""
    eta: float = 1.0
    """In [0, 1]; 0 is deterministic DDIM. CycleDiffusion needs it above 0."""
    solver: Solver = "ddim"
    """Of the reverse process: "ddim" (the paper's), or "dpm++2m": of the second order, for few
    steps; with η = 1 its SDE, inverted by CycleDiffusion like DDIM, with η = 0 deterministic."""
    guidance_scale: float = 7.5
    """Classifier-free guidance of the variants; 1 switches it off and halves the cost."""
    noise_scale: float = 3.0
    """σ_h, standard deviation of the perturbation in the units of the site. 0 is none."""
    site: str = "bottleneck"
    """What is perturbed: "bottleneck", "encoder_<i>", "decoder_<i>", "x_T", "x_t" (every step but
    the first) or "x_0"."""
    update_rule: Literal["official", "asymmetric"] = "official"
    """How the step is made: "official" (the release's rule) or "asymmetric" (Eq. 6 as printed)."""
    cfg_noise: Literal["independent", "shared"] = "independent"
    """Of the perturbation: "independent" noise for the unconditional and the conditional row, or
    "shared"."""
    inversion: Literal["cyclediffusion", "ddim"] = "cyclediffusion"
    """Of the seed: "cyclediffusion" or "ddim"."""
    posterior_noise: Literal["shared", "redrawn"] = "shared"
    """Of the source chain: "shared" by a seed's variants, or "redrawn" for each, which runs the
    source chain once per variant instead of once per seed (CycleDiffusion only)."""
    source_prompt: str = ""
    """What the seed image shows, for the inversion."""
    source_guidance_scale: float = 1.0
    """Guidance of the inversion; without effect if the source prompt is empty."""
    encoder_every: int = 1
    """k; the U-Net's encoder runs at every k-th step only, its decoder at every step (see
    `encoder_reuse`). 1 is the paper's method."""
    variants_per_pass: int = 5
    """At most how many variants of a seed go through the U-Net together; 0 is all. Passes are
    equal: of 10 variants, 5, 2 or 1 go together, not 4."""

    name: ClassVar[str] = "dreamda"

    def __post_init__(self) -> None:
        check_choices(self)
        check_not_negative(
            self, "noise_scale", "guidance_scale", "source_guidance_scale", "variants_per_pass"
        )
        if self.update_rule == "asymmetric" and self.site in LATENT_SITES:
            raise ValueError(
                f"update_rule='asymmetric' needs a site inside the U-Net, not {self.site!r}: "
                "a perturbed latent has no clean prediction beside it"
            )
        if self.encoder_every < 1:
            raise ValueError(f"encoder_every must be 1 or more, got {self.encoder_every}")
        if self.encoder_every > 1 and (self.site == "x_t" or self.site.startswith("encoder_")):
            raise ValueError(
                f"encoder_every={self.encoder_every} leaves the encoder out of most steps, so that "
                f"site={self.site!r} would be perturbed in few of them: use encoder_every=1, or "
                "another site"
            )
        if self.encoder_every > 1 and self.inversion == "ddim":
            raise ValueError(
                "inversion='ddim' calls the network in another order than the reverse process: "
                "encoder_every above 1 needs inversion='cyclediffusion'"
            )


@dataclasses.dataclass(frozen=True)
class TextToImageOptions(PlainOptions):
    """No options but those of sampling; all N steps are executed."""

    name: ClassVar[str] = "text_to_image"


@dataclasses.dataclass(frozen=True)
class SDEditOptions(PlainOptions):
    """Options of the method; the defaults are diffusers' image-to-image ones."""

    strength: float = 0.8
    """In (0, 1]; the last `int(N · strength)` steps are executed. More is further from the seed."""

    name: ClassVar[str] = "sdedit"


@dataclasses.dataclass(frozen=True)
class BagOfTricksOptions(PlainOptions):
    """Options of the method; all N steps are executed."""

    trick: Literal["class_prompt", "multi_domain", "random_guidance", "merged"] = "merged"
    """Which one: "class_prompt" (the class name alone), "multi_domain" ("a <domain> of a <class>"),
    "random_guidance" (section `prompt`'s prompts), or "merged": the variants of a seed take the
    three in turn."""
    guidance_scale_min: float = 1.0
    """Of the scales that "random_guidance" draws, uniformly."""
    guidance_scale_max: float = 5.0
    """Of the same."""

    name: ClassVar[str] = "bag_of_tricks"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_not_negative(self, "guidance_scale_min", "guidance_scale_max")
        if self.guidance_scale_max < self.guidance_scale_min:
            raise ValueError(
                f"guidance_scale_max={self.guidance_scale_max} is below "
                f"guidance_scale_min={self.guidance_scale_min}"
            )


@dataclasses.dataclass(frozen=True)
class GifOptions(SDEditOptions):
    """Options of the method beside SDEdit's; the defaults are the release's for Oxford-IIIT Pet."""

    guidance_scale: float = 50.0
    strength: float = 0.7
    epsilon: float = 0.8
    """ε, how far a latent may be moved."""
    step_size: float = 0.1
    """Of the one step on a and b, along the sign of the gradient."""
    prompt_style: Literal["release", "given"] = "release"
    """Whose prompts: "release" (a domain, an adjective and the class name, drawn for each image) or
    "given" (those of section `prompt`)."""

    name: ClassVar[str] = "gif"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_not_negative(self, "epsilon", "step_size")


@dataclasses.dataclass(frozen=True)
class DiffusionInversionOptions(PlainOptions):
    """Options of the method; the defaults are the release's. All N steps are executed."""

    num_inference_steps: int = 100
    eta: float = 1.0
    guidance_scale: float = 2.0
    """Away from the mean embedding; 1 switches it off and halves the cost."""
    num_tokens: int = 5
    """L, of an image's embedding."""
    learning_steps: int = 3000
    """Of AdamW, for each image; the release makes about 3,000. A prime number is a bad choice: a
    call of the program makes equally many, at most 100."""
    learning_rate: float = 0.03
    """Of AdamW."""
    weight_decay: float = 0.01
    """Of AdamW."""
    interpolation: float = 0.1
    """In [0, 1], how far an embedding is moved towards another of its class."""
    embedding_noise: float = 0.1
    """Standard deviation of the noise on an embedding."""

    name: ClassVar[str] = "diffusion_inversion"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_not_negative(self, "weight_decay", "embedding_noise")
        for name in ("num_tokens", "learning_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")
        if not 0 <= self.interpolation <= 1:
            raise ValueError(f"interpolation must be in [0, 1], got {self.interpolation}")


METHODS: dict[str, Any] = {
    record.name: record
    for record in (
        DreamDAOptions,
        TextToImageOptions,
        SDEditOptions,
        BagOfTricksOptions,
        GifOptions,
        DiffusionInversionOptions,
    )
}
"""The options of each method by the name that a configuration gives."""

"""SDEdit (Meng et al. 2022, arXiv 2108.01073): noise a seed, and denoise it under its prompt.

This is diffusers' image-to-image pipeline.
"""

import dataclasses
from typing import ClassVar

from dreamda_jax.diffusion import steps
from dreamda_jax.diffusion.schedule import Schedule
from dreamda_jax.models.stable_diffusion import StableDiffusion
from dreamda_jax.synthesis.guidance import Guidance
from dreamda_jax.synthesis.method import Inputs, Method, Outputs, check_not_negative
from dreamda_jax.synthesis.passes import of_seeds
from dreamda_jax.synthesis.sampling import (
    Rows,
    Sampled,
    draw_noise,
    first_level,
    make_variants,
    model_schedule,
    reverse,
)
from dreamda_jax.types import Latent, Params


@dataclasses.dataclass(frozen=True)
class SDEdit(Method):
    """Options of the method; the defaults are diffusers' image-to-image ones.

    Attributes:
      num_inference_steps: N, the length of the sub-sequence of timesteps.
      strength: in (0, 1]; the last `int(N · strength)` steps are executed. More is further from
        the seed.
      eta: in [0, 1]; 0 is deterministic DDIM, 1 has DDPM's variance.
      guidance_scale: classifier-free guidance; 1 switches it off and halves the cost.
      variants_per_pass: at most how many variants of a seed go through the U-Net together; 0 is
        all.
    """

    num_inference_steps: int = 50
    strength: float = 0.8
    eta: float = 0.0
    guidance_scale: float = 7.5
    variants_per_pass: int = 0

    name: ClassVar[str] = "sdedit"

    def __post_init__(self) -> None:
        check_not_negative(self, "guidance_scale", "variants_per_pass")

    def check(self, model: StableDiffusion) -> None:
        """Raises ValueError where the options and the model do not fit together."""
        self.schedule(model)
        if self.guidance_scale != 1:
            model.check_empty_prompt()

    def schedule(self, model: StableDiffusion) -> Schedule:
        """The executed steps."""
        return model_schedule(
            model,
            num_inference_steps=self.num_inference_steps,
            strength=self.strength,
            eta=self.eta,
        )

    def synthesize(
        self,
        model: StableDiffusion,
        params: Params,
        inputs: Inputs,
        *,
        keep_trajectory: bool = False,
    ) -> Outputs:
        """Makes n variants of each of b seeds: encode, noise, denoise, decode."""
        x0 = model.encode_image(params, inputs.images)

        def sample_rows(rows: Rows) -> Sampled:
            return self.edit(model, params, x0, rows, inputs, keep_trajectory=keep_trajectory)

        return make_variants(model, params, inputs, sample_rows, most=self.variants_per_pass)

    def edit(
        self,
        model: StableDiffusion,
        params: Params,
        x0: Latent,
        rows: Rows,
        inputs: Inputs,
        *,
        keep_trajectory: bool = False,
    ) -> Sampled:
        """x_t ~ q(x_t | x_0), of each variant's own noise, and back; `x0` [b, 4, h, w]."""
        schedule = self.schedule(model)
        noise = draw_noise(rows, schedule, x0.shape[1:])
        start = steps.add_noise(of_seeds(x0, len(noise)), noise, first_level(schedule))
        guidance = Guidance(self.guidance_scale, inputs.empty_context)
        return reverse(
            *(model, params, start, rows, schedule, guidance), keep_trajectory=keep_trajectory
        )

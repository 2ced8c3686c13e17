"""SDEdit (Meng et al. 2022, arXiv 2108.01073): noise a seed, and denoise it under its prompt.

This is diffusers' image-to-image pipeline.
"""

import dataclasses

from dreamda_jax.algorithms.diffusion import steps
from dreamda_jax.models.stable_diffusion.model import StableDiffusion
from dreamda_jax.options.methods import SDEditOptions
from dreamda_jax.synthesis.method import Inputs, Outputs
from dreamda_jax.synthesis.plain import PlainMethod
from dreamda_jax.synthesis.sampling import (
    Guidance,
    Rows,
    Sampled,
    draw_noise,
    first_level,
    make_variants,
    of_seeds,
    reverse,
)
from dreamda_jax.types import Latent, Params


@dataclasses.dataclass(frozen=True)
class SDEdit(SDEditOptions, PlainMethod):
    """The method; its options are explained in `SDEditOptions`."""

    @property
    def executed_share(self) -> float:
        """The strength."""
        return self.strength

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

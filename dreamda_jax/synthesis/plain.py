"""What methods have in common that run the plain reverse process and perturb no network."""

import dataclasses

import jax

from dreamda_jax.algorithms.diffusion.schedule import Schedule
from dreamda_jax.models.stable_diffusion.model import StableDiffusion
from dreamda_jax.options.methods import PlainOptions
from dreamda_jax.synthesis.method import Inputs, Method, Outputs
from dreamda_jax.synthesis.sampling import (
    Guidance,
    Rows,
    Sampled,
    draw_noise,
    make_variants,
    model_schedule,
    reverse,
)
from dreamda_jax.types import AnyArray, Params


@dataclasses.dataclass(frozen=True)
class PlainMethod(PlainOptions, Method):
    """A method that samples as diffusers does."""

    @property
    def executed_share(self) -> float:
        """Of the N steps, those nearest to the image."""
        return 1.0

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
            strength=self.executed_share,
            eta=self.eta,
        )


@dataclasses.dataclass(frozen=True)
class FromNoise(PlainMethod):
    """A method whose images begin as noise: a seed gives its label and its keys alone."""

    def scale(self, rows: Rows) -> float | jax.Array:
        """Guidance of a pass's rows: a number, or [r, 1, 1, 1]."""
        del rows
        return self.guidance_scale

    def contexts(self, inputs: Inputs) -> AnyArray:
        """Of all variants, [b, n, l, d]."""
        return inputs.contexts

    def synthesize(
        self,
        model: StableDiffusion,
        params: Params,
        inputs: Inputs,
        *,
        keep_trajectory: bool = False,
    ) -> Outputs:
        """Makes n images for each of b seeds; see `Method.synthesize`."""
        schedule = self.schedule(model)
        shape = model.latent_shape(inputs.images.shape[1])

        def sample_rows(rows: Rows) -> Sampled:
            start = draw_noise(rows, schedule, shape)
            guidance = Guidance(self.scale(rows), inputs.empty_context)
            return reverse(
                *(model, params, start, rows, schedule, guidance), keep_trajectory=keep_trajectory
            )

        inputs = inputs._replace(contexts=self.contexts(inputs))
        return make_variants(model, params, inputs, sample_rows, most=self.variants_per_pass)

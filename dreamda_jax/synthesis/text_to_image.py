"""Stable Diffusion as it is: images from prompts alone; a seed gives its label and its keys."""

import dataclasses
from typing import ClassVar

from dreamda_jax.diffusion.schedule import Schedule
from dreamda_jax.models.stable_diffusion import StableDiffusion
from dreamda_jax.synthesis.method import Inputs, Method, Outputs, check_not_negative
from dreamda_jax.synthesis.sampling import from_noise, model_schedule
from dreamda_jax.types import Params


@dataclasses.dataclass(frozen=True)
class TextToImage(Method):
    """Options of the method; the defaults are diffusers'.

    Attributes:
      num_inference_steps: N, all of which are executed.
      eta: in [0, 1]; 0 is deterministic DDIM, 1 has DDPM's variance.
      guidance_scale: classifier-free guidance; 1 switches it off and halves the cost.
      variants_per_pass: at most how many variants of a seed go through the U-Net together; 0 is
        all.
    """

    num_inference_steps: int = 50
    eta: float = 0.0
    guidance_scale: float = 7.5
    variants_per_pass: int = 0

    name: ClassVar[str] = "text_to_image"

    def __post_init__(self) -> None:
        check_not_negative(self, "guidance_scale", "variants_per_pass")

    def check(self, model: StableDiffusion) -> None:
        """Raises ValueError where the options and the model do not fit together."""
        self._schedule(model)
        if self.guidance_scale != 1:
            model.check_empty_prompt()

    def _schedule(self, model: StableDiffusion) -> Schedule:
        return model_schedule(
            model, num_inference_steps=self.num_inference_steps, strength=1, eta=self.eta
        )

    def synthesize(
        self,
        model: StableDiffusion,
        params: Params,
        inputs: Inputs,
        *,
        keep_trajectory: bool = False,
    ) -> Outputs:
        """Makes n images for each of b seeds, of their prompts; see `Method.synthesize`."""
        return from_noise(
            *(model, params, inputs, self._schedule(model)),
            scale=lambda _: self.guidance_scale,
            most=self.variants_per_pass,
            keep_trajectory=keep_trajectory,
        )

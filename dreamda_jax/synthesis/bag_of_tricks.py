"""Bag of Tricks: variety from text alone (Shipard et al. 2023, arXiv 2302.03298).

"Diversity is definitely needed": text-to-image with the bare class name as prompt, with prompts of
many domains, or with a guidance scale drawn anew for each image; and a set that mixes the three.
"""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from dreamda_jax.algorithms.diffusion import keys as keys_lib
from dreamda_jax.algorithms.diffusion.keys import Stream
from dreamda_jax.data.prompts import ChoosePrompt, Subject
from dreamda_jax.data.sources.labels import spoken_name
from dreamda_jax.models.stable_diffusion.model import StableDiffusion
from dreamda_jax.options.methods import BagOfTricksOptions
from dreamda_jax.synthesis.plain import FromNoise
from dreamda_jax.synthesis.sampling import Rows

DOMAINS = (
    *("photo", "drawing", "painting", "sketch", "collage", "poster", "digital art image"),
    *("rock drawing", "stick figure", "3D rendering"),
)
_TRICKS = ("class_prompt", "multi_domain", "random_guidance")  # variants of a mixture, in turn


@dataclasses.dataclass(frozen=True)
class BagOfTricks(BagOfTricksOptions, FromNoise):
    """The method; its options are explained in `BagOfTricksOptions`."""

    prompts_hint: ClassVar[str] = "--config.method.trick=random_guidance or merged"

    def check(self, model: StableDiffusion) -> None:
        """Raises ValueError where the options and the model do not fit together."""
        super().check(model)
        model.check_empty_prompt()  # whatever the scale: some are drawn

    @property
    def uses_prompts(self) -> bool:
        """Two tricks have prompts of their own."""
        return self.trick in ("random_guidance", "merged")

    def prompts(
        self, given: ChoosePrompt, *, label_names: Sequence[str], draw_seed: int
    ) -> ChoosePrompt:
        """The class name, a domain and the class name, or the given prompt, by the trick."""

        def choose(seed: Subject, variant: int) -> str:
            name = spoken_name(label_names[seed.label])
            trick = self._trick(variant)
            if trick == "class_prompt":
                return name
            if trick == "random_guidance":
                return given(seed, variant)
            # Each seed goes through all domains before one comes again, in an order of its own.
            order = np.random.default_rng([draw_seed, seed.index]).permutation(len(DOMAINS))
            turn = variant // len(_TRICKS) if self.trick == "merged" else variant
            return f"a {DOMAINS[order[turn % len(DOMAINS)]]} of a {name}"

        return choose

    def _trick(self, variant: int) -> str:
        return _TRICKS[variant % len(_TRICKS)] if self.trick == "merged" else self.trick

    def scale(self, rows: Rows) -> float | jax.Array:
        """Drawn for each row whose trick it is, the option's for the others: [r, 1, 1, 1]."""
        uniform = keys_lib.uniform(rows.keys, 0, Stream.GUIDANCE, (1, 1, 1))
        width = self.guidance_scale_max - self.guidance_scale_min
        drawn = self.guidance_scale_min + width * uniform
        if self.trick == "random_guidance":
            return drawn
        place = _TRICKS.index("random_guidance")
        is_drawn = (rows.variants % len(_TRICKS) == place) & (self.trick == "merged")
        return jnp.where(is_drawn[:, None, None, None], drawn, self.guidance_scale)

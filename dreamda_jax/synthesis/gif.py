"""GIF-SD: guided imagination with Stable Diffusion (Zhang et al. 2023, arXiv 2211.13976).

As the authors' release does it: SDEdit with much guidance; the latents are then scaled and shifted
channel by channel, at random; one step along the sign of the gradient of a score that CLIP gives
(`imagination.score`); what has moved further than ε from SDEdit's latents is brought back.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dreamda_jax.algorithms.diffusion import imagination
from dreamda_jax.algorithms.diffusion import keys as keys_lib
from dreamda_jax.algorithms.diffusion.keys import RawKeys, Stream
from dreamda_jax.data.prompts import ChoosePrompt, Subject
from dreamda_jax.data.sources.labels import spoken_name
from dreamda_jax.models.clip.encoder import Guide
from dreamda_jax.models.stable_diffusion.model import StableDiffusion
from dreamda_jax.models.weights.load import Place
from dreamda_jax.options.methods import GifOptions
from dreamda_jax.synthesis.method import Inputs, Outputs
from dreamda_jax.synthesis.sampling import Sampled, in_passes, rows_of
from dreamda_jax.synthesis.sdedit import SDEdit
from dreamda_jax.types import Latent, Params

DOMAINS = (
    *("an image of", "a real-world photo of", "a cartoon image of", "an oil painting of"),
    "a sketch of",
)
ADJECTIVES = (
    *("", "colorful", "stylized", "high-contrast", "low-contrast", "posterized", "solarized"),
    *("sheared", "bright", "dark"),
)


class Perturbation(NamedTuple):
    """a and b of rows, each float32 [r, 4, 1, 1]."""

    gain: Float[Array, "r 4 1 1"]
    bias: Float[Array, "r 4 1 1"]


@dataclasses.dataclass(frozen=True)
class Gif(GifOptions, SDEdit):
    """The method; its options are explained in `GifOptions`."""

    clip: Guide | None = dataclasses.field(default=None, compare=False, repr=False)
    """Who scores; it is opened from section `clip` and no option."""

    networks: ClassVar[tuple[str, ...]] = ("clip",)
    prompts_hint: ClassVar[str] = "--config.method.prompt_style=given"

    @property
    def uses_prompts(self) -> bool:
        """Only if it is asked to."""
        return self.prompt_style == "given"

    def with_networks(self, opened: Mapping[str, Guide]) -> "Gif":
        """The same with the guide that section `clip` names."""
        return dataclasses.replace(self, clip=opened["clip"])

    def digests(self) -> dict[str, str]:
        """That of the guide."""
        return {} if self.clip is None else {"clip": self.clip.digest}

    def extra_params(self) -> dict[str, Params]:
        """Those of the guide."""
        return {} if self.clip is None else {"clip": self.clip.shapes}

    def load_extra_params(self, place: Place) -> dict[str, Params]:
        """Those of the guide."""
        return {} if self.clip is None else {"clip": self.clip.load(place)}

    def prompts(
        self, given: ChoosePrompt, *, label_names: Sequence[str], draw_seed: int
    ) -> ChoosePrompt:
        """Domain, adjective and class name, or the given prompt."""

        def choose(seed: Subject, variant: int) -> str:
            generator = np.random.default_rng([draw_seed, seed.index, variant])
            words = (generator.choice(DOMAINS), generator.choice(ADJECTIVES))
            return " ".join([*filter(None, words), spoken_name(label_names[seed.label])])

        return choose if self.prompt_style == "release" else given

    def synthesize(
        self,
        model: StableDiffusion,
        params: Params,
        inputs: Inputs,
        *,
        keep_trajectory: bool = False,
    ) -> Outputs:
        """Makes n variants of each of b seeds.

        Args:
          model: the networks.
          params: those of the model, and under "clip" those of the guide.
          inputs: see `Inputs`.
          keep_trajectory: whether to return SDEdit's latents after each step.
        """
        imagine = _Imagination(self, model, params)
        x0 = model.encode_image(params, inputs.images)
        rows = rows_of(inputs)
        in_parts = lambda function, *rows: in_passes(  # noqa: E731
            function, rows, most=self.variants_per_pass
        )

        def edit(of: tuple) -> Sampled:
            return self.edit(model, params, x0, of[0], inputs, keep_trajectory=keep_trajectory)

        edited = in_parts(edit, rows)
        drawn = in_parts(lambda of: _draw(of[0], channels=x0.shape[1]), rows.keys)
        features = in_parts(lambda of: imagine.features(*of), drawn, edited.latents)
        wanted = imagine.gradient(features, inputs.images)
        images, mean_square = in_parts(
            lambda of: imagine.finish(*of), drawn, edited.latents, wanted
        )
        mean_square = jnp.mean(jnp.stack([edited.mean_square, mean_square]))
        return Outputs(images, jnp.sqrt(mean_square), edited.trajectory)


def _draw(row_keys: RawKeys, *, channels: int) -> Perturbation:
    """Of each variant and channel a ~ U[0, 1) and b ~ N(0, 1)."""
    return Perturbation(
        keys_lib.uniform(row_keys, 0, Stream.GAIN, (channels, 1, 1)),
        keys_lib.normal(row_keys, 0, Stream.BIAS, (channels, 1, 1)),
    )


@dataclasses.dataclass(frozen=True)
class _Imagination:
    """One traced call. Variants of a seed share a mean, so the gradient is taken in two steps.

    First with respect to the features of all, which are small; then, some variants at a time,
    through CLIP and the VAE, which is what takes memory.
    """

    options: Gif
    model: StableDiffusion
    params: Params

    @property
    def _clip(self) -> Guide:
        assert self.options.clip is not None, "build opens it"
        return self.options.clip

    def features(self, perturbation: Perturbation, latents: Latent) -> Float[Array, "r d"]:
        """What CLIP sees in the decoded images of perturbed latents."""
        moved = imagination.perturbed(latents, *perturbation)
        pixels = self.model.decode_latents_float(self.params, moved)
        pixels = (jnp.clip(pixels, -1, 1) + 1) * 127.5
        return self._clip.embed_pixels(self.params["clip"], pixels)

    def gradient(self, features: Any, images: Any) -> Float[Array, "b n d"]:
        """Of the summed score of all variants with respect to their features."""
        clip = self.params["clip"]
        of_seeds = self._clip.embed_images(clip, images)

        def total(features: jax.Array) -> jax.Array:
            scores = imagination.score(
                features, of_seeds, clip["text_embeddings"], jnp.exp(clip["logit_scale"])
            )
            return jnp.sum(scores)

        return jax.grad(total)(features)

    def finish(self, perturbation: Perturbation, latents: Latent, wanted: Any) -> Any:
        """One step of a and b, and the projection: images uint8 [r, h, w, 3], latents' squares."""
        _, pull_back = jax.vjp(lambda p: self.features(p, latents), perturbation)
        (gradient,) = pull_back(wanted)
        size = self.options.step_size
        better = jax.tree.map(lambda x, g: x + size * jnp.sign(g), perturbation, gradient)
        moved = imagination.perturbed(latents, *better)
        moved = imagination.project(moved, latents, self.options.epsilon)
        mean_square = jnp.mean(jnp.square(moved), axis=(1, 2, 3))
        return self.model.decode_latents(self.params, moved), mean_square

"""Diffusion Inversion (Zhou et al. 2023, "Training on thin air", arXiv 2305.15316).

Each training image gets an embedding of a few tokens of its own, in the place of a prompt's, learnt
by the diffusion model's own loss with all networks frozen. New images are sampled from noise under
embeddings that are moved a little towards another image's of the class and blurred with noise;
guidance is away from the mean of all embeddings.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from dreamda_jax.algorithms import random_key
from dreamda_jax.algorithms.diffusion import denoising_loss
from dreamda_jax.algorithms.diffusion import keys as keys_lib
from dreamda_jax.algorithms.diffusion.keys import RawKeys, Stream
from dreamda_jax.algorithms.diffusion.loss_weights import loss_weights
from dreamda_jax.algorithms.diffusion.schedule import noise_level
from dreamda_jax.models.stable_diffusion.model import StableDiffusion
from dreamda_jax.options.methods import DiffusionInversionOptions
from dreamda_jax.synthesis.method import Inputs, Learning
from dreamda_jax.synthesis.plain import FromNoise
from dreamda_jax.types import AnyArray, Context, Image, Latent, Params

_START = 0.1  # the release's initial embeddings are uniform in ±0.1 (100 images to a linear layer)
_MOST_STEPS_PER_CALL = 100


class State(NamedTuple):
    """Embeddings of images on their way.

    Attributes:
      embeddings: float32 [b, l, d].
      moments: AdamW's.
      mean: of the VAE's posterior, float32 [b, 4, h, w].
      std: of the same.
      losses: mean loss of each image over the steps of the last call, float32 [b].
    """

    embeddings: Context
    moments: optax.OptState
    mean: Latent
    std: Latent
    losses: Float[Array, "b"]


@dataclasses.dataclass(frozen=True)
class DiffusionInversion(DiffusionInversionOptions, FromNoise):
    """The method; its options are explained in `DiffusionInversionOptions`."""

    @property
    def learning(self) -> Learning:
        """An embedding of each image."""
        return self

    @property
    def uses_prompts(self) -> bool:
        """Embeddings stand in their place."""
        return False

    def check(self, model: StableDiffusion) -> None:
        """Raises ValueError where the options and the model do not fit together."""
        self.schedule(model)  # guidance needs no empty prompt here
        if model.dtype == jnp.float16:
            raise ValueError(
                "model.dtype=float16: embeddings cannot be learnt in it, because gradients become "
                "zero below 6e-8. Take float32, or bfloat16 where the device has it."
            )

    @property
    def steps_per_call(self) -> int:
        """Of the learning: the largest divisor of all steps that leaves room to stop between."""
        most = min(self.learning_steps, _MOST_STEPS_PER_CALL)
        return max(size for size in range(1, most + 1) if self.learning_steps % size == 0)

    def embedding_shape(self, model: StableDiffusion) -> tuple[int, int]:
        """(l, d) of an image's embedding."""
        return (self.num_tokens, model.unet.cross_attention_dim)

    def start(self, model: StableDiffusion, params: Params, images: Image, keys: RawKeys) -> State:
        """What learning begins with, of images uint8 [b, h, w, 3] and their seeds' keys."""
        mean, std = model.encode_posterior(params, images)
        own, shape = keys_lib.own_keys(keys), self.embedding_shape(model)
        uniform = keys_lib.uniform(own, 0, Stream.EMBEDDING, shape)
        embeddings = _START * (2 * uniform - 1)
        return State(
            embeddings, self.optimizer().init(embeddings), mean, std, jnp.zeros(len(images))
        )

    def optimizer(self) -> optax.GradientTransformation:
        """AdamW: moments and decay are of each number alone, so images learn in one array."""
        return optax.adamw(self.learning_rate, weight_decay=self.weight_decay)

    def learn(
        self,
        model: StableDiffusion,
        params: Params,
        learning: State,
        keys: RawKeys,
        first_step: AnyArray,
    ) -> State:
        """`steps_per_call` steps for each image, of the error of its own noised latents.

        An image's timesteps, noise and gradient are its own: what is learnt with it in one call
        changes nothing but roundings.
        """
        own, optimizer = keys_lib.own_keys(keys), self.optimizer()

        def step(state: Any, number: Any) -> tuple[Any, jax.Array]:
            embeddings, moments = state
            step_keys = jax.vmap(
                lambda raw: jax.random.fold_in(
                    jax.random.fold_in(random_key.typed(raw), number), Stream.LEARNING
                )
            )(own)
            gradient, losses = jax.grad(self.losses, argnums=2, has_aux=True)(
                *(model, params, embeddings, learning.mean, learning.std, step_keys)
            )
            updates, moments = optimizer.update(gradient, moments, embeddings)
            return (optax.apply_updates(embeddings, updates), moments), losses

        numbers = first_step + jnp.arange(self.steps_per_call)
        (embeddings, moments), losses = jax.lax.scan(
            step, (learning.embeddings, learning.moments), numbers
        )
        return learning._replace(
            embeddings=embeddings, moments=moments, losses=jnp.mean(losses, axis=0)
        )

    def losses(
        self,
        model: StableDiffusion,
        params: Params,
        embeddings: Context,
        mean: Latent,
        std: Latent,
        step_keys: Any,
    ) -> tuple[Float[Array, ""], Float[Array, "b"]]:
        """The sum over images of the mean squared error of the prediction, and each image's."""
        objective = _objective(model)
        x0 = denoising_loss.draw_latents(step_keys, mean, std)
        noised = denoising_loss.add_training_noise(step_keys, x0, objective)
        errors, _ = denoising_loss.squared_errors(
            functools.partial(model.denoise, params), noised, embeddings, objective
        )
        return jnp.sum(errors), errors

    def contexts(self, inputs: Inputs) -> AnyArray:
        """Interpolated embeddings, each with noise of its variant's own."""
        b, n, *shape = inputs.contexts.shape
        variant_keys = keys_lib.variant_keys(inputs.keys, inputs.variants).reshape(b * n, 2)
        noise = keys_lib.normal(variant_keys, 0, Stream.CONTEXT, tuple(shape))
        return inputs.contexts + self.embedding_noise * noise.reshape(b, n, *shape)


def _objective(model: StableDiffusion) -> denoising_loss.Objective:
    """Unweighted, over all timesteps the network was trained on."""
    alphas = model.scheduler.alphas_cumprod()
    prediction_type = model.scheduler.prediction_type
    return denoising_loss.Objective(
        prediction_type, noise_level(alphas), loss_weights(alphas, prediction_type, "none")
    )

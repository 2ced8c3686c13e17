"""Full fine-tuning: every parameter of the U-Net."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from dreamda_jax.finetune.adaptation import Adaptation, Denoiser, Frozen, unet_of
from dreamda_jax.models.stable_diffusion.model import StableDiffusion
from dreamda_jax.types import Params


def full(model: StableDiffusion, *, remat: bool) -> Adaptation:
    """Trains the U-Net on given contexts.

    Args:
      model: the networks.
      remat: whether blocks' activations are computed again in the backward pass.
    """

    def init(key: jax.Array, start: Mapping[str, Params]) -> Params:
        return jax.tree.map(lambda leaf: leaf.astype(jnp.float32), start["unet"])

    def denoiser(trained: Params, frozen: Frozen) -> Denoiser:
        return Denoiser(unet_of(model, {"unet": trained}, remat=remat), lambda context: context)

    return Adaptation(init, denoiser, frozen=(), takes_token_ids=False)

"""LoRA: a low-rank update of the U-Net's attention projections; everything else is frozen."""

from collections.abc import Mapping
from typing import Any

import jax

from dreamda_jax.finetune.adaptation import Adaptation, Denoiser, Frozen, unet_of
from dreamda_jax.models.stable_diffusion import lora
from dreamda_jax.models.stable_diffusion.model import StableDiffusion
from dreamda_jax.types import Params


def low_rank(model: StableDiffusion, *, rank: int, alpha: float, remat: bool) -> Adaptation:
    """Trains adapters on given contexts.

    Args:
      model: the networks.
      rank: r.
      alpha: α; the update is scaled by α/r.
      remat: whether blocks' activations are computed again in the backward pass.
    """

    def init(key: jax.Array, start: Mapping[str, Params]) -> Params:
        return lora.init_adapters(key, lora.target_shapes(start["unet"]), rank=rank)

    def denoiser(trained: Params, frozen: Frozen) -> Denoiser:
        unet = unet_of(model, frozen, remat=remat)

        def denoise(*args: Any) -> Any:
            with lora.adapted(trained, scale=alpha / rank):
                return unet(*args)

        return Denoiser(denoise, lambda context: context)

    return Adaptation(init, denoiser, frozen=("unet",), takes_token_ids=False)

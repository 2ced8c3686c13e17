"""What is trained, and how it makes a denoiser: the interface of the three methods."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from dreamda_jax.models.stable_diffusion.model import REMAT_BLOCKS, StableDiffusion
from dreamda_jax.models.stable_diffusion.remat import rematerialised
from dreamda_jax.types import Context, Denoise, Params

Frozen = Mapping[str, Params]
"""Parameters of networks that are not trained, by name: "unet", "text_encoder"."""


class Denoiser(NamedTuple):
    """A model under the parameters of one moment; both functions can be traced.

    Attributes:
      denoise: the U-Net's raw output.
      encode: from what a batch holds of its prompts to the context [b, l, d].
    """

    denoise: Denoise
    encode: Callable[[Any], Context]


class Adaptation(NamedTuple):
    """A method of fine-tuning.

    Attributes:
      init: `init(key, start)`: the trained parameters before the first step, float32, from the
        parameters of the networks; traceable.
      denoiser: `denoiser(trained, frozen)`, whole on every device and of the model's dtype.
      frozen: the networks that `denoiser` needs.
      takes_token_ids: whether a batch holds token ids int32 [b, l] rather than contexts.
    """

    init: Callable[[jax.Array, Mapping[str, Params]], Params]
    denoiser: Callable[[Params, Frozen], Denoiser]
    frozen: tuple[str, ...]
    takes_token_ids: bool


def unet_of(model: StableDiffusion, params: Frozen, *, remat: bool) -> Denoise:
    """The network under `params["unet"]`; its blocks are rematerialised where asked."""

    def denoise(*args: Any) -> Any:
        if not remat:
            return model.denoise(params, *args)
        with rematerialised(REMAT_BLOCKS):
            return model.denoise(params, *args)

    return denoise

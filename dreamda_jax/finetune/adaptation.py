"""What is trained, and how it makes a denoiser: the whole U-Net, LoRA, or new tokens."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dreamda_jax.models.stable_diffusion import lora, textual_inversion
from dreamda_jax.models.stable_diffusion.model import REMAT_BLOCKS, StableDiffusion
from dreamda_jax.models.stable_diffusion.remat import rematerialised
from dreamda_jax.types import Context, Denoise, Params

Frozen = Mapping[str, Params]
"""Parameters of networks that are not trained, by name: "unet", "text_encoder"."""


EMBEDDINGS = "embeddings"


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


def new_tokens(
    model: StableDiffusion, *, start_ids: Sequence[Sequence[int]], remat: bool
) -> Adaptation:
    """Trains the embeddings of tokens that the vocabulary does not have yet.

    Args:
      model: with a text encoder for the new tokens too: their ids come after all others.
      start_ids: for each new token the known tokens whose mean embedding it starts from.
      remat: whether blocks' activations are computed again in the backward pass.
    """

    def init(key: jax.Array, start: Mapping[str, Params]) -> Params:
        known = textual_inversion.embedding_table(start["text_encoder"]).astype(jnp.float32)
        rows = [known[jnp.asarray(list(ids))].mean(axis=0) for ids in start_ids]
        return {EMBEDDINGS: jnp.stack(rows)}

    def denoiser(trained: Params, frozen: Frozen) -> Denoiser:
        extended = textual_inversion.with_rows(frozen["text_encoder"], trained[EMBEDDINGS])

        def encode(token_ids: jax.Array) -> Context:
            return model.encode_text({"text_encoder": extended}, token_ids)

        return Denoiser(unet_of(model, frozen, remat=remat), encode)

    return Adaptation(init, denoiser, frozen=("unet", "text_encoder"), takes_token_ids=True)

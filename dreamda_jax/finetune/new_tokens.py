"""Textual inversion (Gal et al. 2022, arXiv 2208.01618): new tokens, all networks frozen.

DA-Fusion's users know it with one token per class, learnt from the images of that class.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from dreamda_jax.finetune.adaptation import Adaptation, Denoiser, Frozen, unet_of
from dreamda_jax.models.stable_diffusion import textual_inversion
from dreamda_jax.models.stable_diffusion.model import StableDiffusion
from dreamda_jax.types import Context, Params

EMBEDDINGS = "embeddings"


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

"""CLIP's text encoder, alone or with the projection of its pooled output.

The first is Stable Diffusion's, the second SDXL's other encoder (OpenCLIP's ViT-bigG). Numbers are
those of PyTorch transformers' `CLIPTextModel` and `CLIPTextModelWithProjection`; names of classes
and parameters those of its Flax classes, see `transformer`.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from dreamda_jax.models.clip.config import ClipTextConfig
from dreamda_jax.models.clip.transformer import FlaxCLIPEncoder, Hidden, layer_norm
from dreamda_jax.types import TokenIds

LEGACY_EOS = 2
"""`eos_token_id` of old configs: it stands for whatever id is the highest of a text."""


class TextOutput(NamedTuple):
    """What the text encoder makes of token ids [b, l]."""

    last_hidden_state: Hidden
    """[b, l, d], after the last norm: the context of Stable Diffusion 1.x and 2.x."""
    pooled: Float[Array, "b d"]
    """Of it, the feature of the end token."""
    hidden_states: tuple[Hidden, ...]
    """What enters the first block, and what leaves each, without the last norm. The context of
    SDXL is the last but one."""


class ProjectedText(NamedTuple):
    """What the text encoder with a projection makes of token ids [b, l]."""

    embedding: Float[Array, "b p"]
    """The pooled output, projected; its length is not 1."""
    output: TextOutput


class FlaxCLIPTextEmbeddings(nn.Module):
    """A vector for each token and one for each place, added."""

    config: ClipTextConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, token_ids: TokenIds) -> Hidden:
        """Embed int [b, l] as [b, l, d].

        Raises:
            ValueError: more tokens than there are places.
        """
        length, longest = token_ids.shape[1], self.config.max_position_embeddings
        if length > longest:
            raise ValueError(f"{length} tokens, but the text encoder has {longest} places")
        width = self.config.hidden_size
        tokens = nn.Embed(self.config.vocab_size, width, dtype=self.dtype, name="token_embedding")
        places = nn.Embed(longest, width, dtype=self.dtype, name="position_embedding")
        return tokens(token_ids) + places(jnp.arange(length))


class FlaxCLIPTextTransformer(nn.Module):
    """Embeddings, causal transformer, last norm, and the end token's feature."""

    config: ClipTextConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, token_ids: TokenIds) -> TextOutput:
        """Encode token ids int [b, l]; padding is attended to, as in diffusers' pipelines."""
        embedded = FlaxCLIPTextEmbeddings(self.config, self.dtype, name="embeddings")(token_ids)
        encoder = FlaxCLIPEncoder(self.config, causal=True, dtype=self.dtype, name="encoder")
        states = encoder(embedded)
        last = layer_norm(self.config, self.dtype, "final_layer_norm")(states[-1])
        if self.config.eos_token_id == LEGACY_EOS:
            ends = jnp.argmax(token_ids, axis=-1)
        else:
            ends = jnp.argmax(token_ids == self.config.eos_token_id, axis=-1)
        pooled = jnp.take_along_axis(last, ends[:, None, None], axis=1)[:, 0]
        return TextOutput(last, pooled, states)


class FlaxCLIPTextModule(nn.Module):
    """The text encoder of a Stable Diffusion checkpoint.

    Attributes:
        config: see the class.
        dtype: of the computation; float32, bfloat16 or float16.
    """

    config: ClipTextConfig
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Name what checkpoints hold."""
        self.text_model = FlaxCLIPTextTransformer(self.config, self.dtype)

    def __call__(self, token_ids: TokenIds) -> TextOutput:
        """Encode token ids int [b, l]."""
        return self.text_model(token_ids)


class FlaxCLIPTextModelWithProjectionModule(nn.Module):
    """The text encoder with a projection of its pooled output, without bias."""

    config: ClipTextConfig
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Name what checkpoints hold."""
        self.text_model = FlaxCLIPTextTransformer(self.config, self.dtype)
        self.text_projection = nn.Dense(
            self.config.projection_dim, use_bias=False, dtype=self.dtype
        )

    def __call__(self, token_ids: TokenIds) -> ProjectedText:
        """Encode token ids int [b, l]."""
        output = self.text_model(token_ids)
        return ProjectedText(self.text_projection(output.pooled), output)

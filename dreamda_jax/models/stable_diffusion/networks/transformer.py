"""The U-Net's transformers: pixels as tokens, which attend to each other and to the prompt.

Rombach et al. 2022 (arXiv 2112.10752), appendix E.2.1.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dreamda_jax.models.stable_diffusion.networks.attention import FlaxAttention
from dreamda_jax.models.stable_diffusion.networks.common import Common
from dreamda_jax.models.stable_diffusion.networks.group_norm import GroupNorm

_ENTRY_EPSILON = 1e-6  # of the norm before the tokens, whatever the config says of others
_WIDENING = 4  # of the feed-forward layer

Tokens = Float[Array, "b n c"]


class FlaxTransformer2DModel(nn.Module):
    """Transformer blocks between "norm", "proj_in" and "proj_out", all added to the input.

    Attributes:
        num_heads: of every attention; a head is c // num_heads wide.
        depth: how many blocks, "transformer_blocks_0" ….
        common: what all blocks of the U-Net share.
    """

    num_heads: int
    depth: int
    common: Common

    @nn.compact
    def __call__(
        self, hidden: Float[Array, "b h w c"], context: Float[Array, "b l e"]
    ) -> Float[Array, "b h w c"]:
        """Features of the same shape."""
        common, channels = self.common, hidden.shape[-1]
        dim_head = channels // self.num_heads
        width = self.num_heads * dim_head

        def projection(features: int, name: str) -> nn.Dense | nn.Conv:
            # They compute the same; checkpoints store either.
            if common.use_linear_projection:
                return nn.Dense(features, dtype=common.dtype, name=name)
            return nn.Conv(features, (1, 1), dtype=common.dtype, name=name)

        tokens = GroupNorm(common.num_groups, _ENTRY_EPSILON, name="norm")(hidden)
        tokens = projection(width, name="proj_in")(tokens)
        tokens = tokens.reshape(hidden.shape[0], -1, width)
        for place in range(self.depth):
            block = FlaxBasicTransformerBlock(
                self.num_heads, dim_head, common, name=f"transformer_blocks_{place}"
            )
            tokens = block(tokens, context)
        tokens = tokens.reshape(*hidden.shape[:3], width)
        result: jax.Array = projection(channels, name="proj_out")(tokens) + hidden
        return result


class FlaxBasicTransformerBlock(nn.Module):
    """Self-attention "attn1", attention to the prompt "attn2", feed-forward "ff".

    Each is normalised before ("norm1", "norm2", "norm3") and added to its input.

    Attributes:
        num_heads: of both attentions.
        dim_head: the width of a head.
        common: what all blocks of the U-Net share.
    """

    num_heads: int
    dim_head: int
    common: Common

    @nn.compact
    def __call__(self, tokens: Tokens, context: Float[Array, "b l e"]) -> Tokens:
        """Tokens of the same shape."""
        common = self.common

        def norm(name: str) -> nn.LayerNorm:
            # As of `GroupNorm`: E[x²] − E[x]² would lose digits where the mean is large.
            return nn.LayerNorm(
                epsilon=1e-5, use_fast_variance=False, dtype=common.dtype, name=name
            )

        def attention(name: str) -> FlaxAttention:
            return FlaxAttention(
                heads=self.num_heads,
                dim_head=self.dim_head,
                upcast=common.upcast_attention,
                attention=common.attention,
                dtype=common.dtype,
                name=name,
            )

        tokens = tokens + attention("attn1")(norm("norm1")(tokens))
        tokens = tokens + attention("attn2")(norm("norm2")(tokens), context)
        return tokens + FlaxFeedForward(common, name="ff")(norm("norm3")(tokens))


class FlaxFeedForward(nn.Module):
    """A gated layer four times as wide, "net_0", and a dense layer back, "net_2"."""

    common: Common

    @nn.compact
    def __call__(self, tokens: Tokens) -> Tokens:
        """Tokens of the same shape."""
        channels, dtype = tokens.shape[-1], self.common.dtype
        hidden = FlaxGEGLU(_WIDENING * channels, self.common, name="net_0")(tokens)
        result: jax.Array = nn.Dense(channels, dtype=dtype, name="net_2")(hidden)
        return result


class FlaxGEGLU(nn.Module):
    """x · GELU(gate), both from one dense layer "proj" (Shazeer 2020, arXiv 2002.05202).

    Attributes:
        width: of the result.
        common: what all blocks of the U-Net share.
    """

    width: int
    common: Common

    @nn.compact
    def __call__(self, tokens: Tokens) -> Float[Array, "b n d"]:
        """The result is `width` wide. GELU is the exact one, with erf."""
        both = nn.Dense(2 * self.width, dtype=self.common.dtype, name="proj")(tokens)
        linear, gate = jnp.split(both, 2, axis=-1)
        return linear * nn.gelu(gate, approximate=False)

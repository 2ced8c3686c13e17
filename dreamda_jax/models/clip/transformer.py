"""The transformer that CLIP's text and image encoders have in common.

Blocks whose norms come first (Radford et al. 2021, https://arxiv.org/abs/2103.00020, section 2.4;
attention of Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, equation 1). Numbers are those
of PyTorch transformers: variances are means of squared differences, GELU is the exact one where
`hidden_act` says "gelu". The classes have the names, and the parameters the tree, of transformers'
Flax classes (4.57, transformers/models/clip/modeling_flax_clip.py), so its msgpack files load.

Norms and softmax are taken in float32 whatever the dtype is: float16 overflows at 65504.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dreamda_jax.models.clip.config import TransformerConfig

Hidden = Float[Array, "b l d"]


class FlaxCLIPAttention(nn.Module):
    """Attention of a sequence to itself.

    Attributes:
        config: see the class.
        causal: whether a token sees only itself and those before it.
        dtype: of the computation; float32, bfloat16 or float16.
    """

    config: TransformerConfig
    causal: bool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, hidden: Hidden) -> Hidden:
        """Let every token [b, l, d] gather what it looks for; the same shape."""
        batch, length, width = hidden.shape
        heads = self.config.num_attention_heads

        def project(name: str) -> jax.Array:
            projected = nn.Dense(width, dtype=self.dtype, name=name)(hidden)
            return projected.reshape(batch, length, heads, width // heads)

        query, key, value = project("q_proj"), project("k_proj"), project("v_proj")
        query = query * (width // heads) ** -0.5
        scores = jnp.einsum("bqhd,bkhd->bhqk", query, key, preferred_element_type=jnp.float32)
        if self.causal:
            seen = jnp.tril(jnp.ones((length, length), bool))
            scores = jnp.where(seen, scores, jnp.finfo(scores.dtype).min)
        weights = jax.nn.softmax(scores, axis=-1).astype(self.dtype)
        gathered = jnp.einsum("bhqk,bkhd->bqhd", weights, value).reshape(batch, length, width)
        return nn.Dense(width, dtype=self.dtype, name="out_proj")(gathered)


class FlaxCLIPMLP(nn.Module):
    """Two linear layers with `hidden_act` between them, token by token."""

    config: TransformerConfig
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, hidden: Hidden) -> Hidden:
        """[b, l, d] to the same shape."""
        wide = nn.Dense(self.config.intermediate_size, dtype=self.dtype, name="fc1")(hidden)
        wide = _ACTIVATIONS[self.config.hidden_act](wide)
        return nn.Dense(self.config.hidden_size, dtype=self.dtype, name="fc2")(wide)


class FlaxCLIPEncoderLayer(nn.Module):
    """One block: x + attention(norm(x)), and of that y + MLP(norm(y))."""

    config: TransformerConfig
    causal: bool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, hidden: Hidden) -> Hidden:
        """[b, l, d] to the same shape."""
        config, dtype = self.config, self.dtype
        normed = layer_norm(config, dtype, "layer_norm1")(hidden)
        attention = FlaxCLIPAttention(config, self.causal, dtype, name="self_attn")
        hidden = hidden + attention(normed)
        normed = layer_norm(config, dtype, "layer_norm2")(hidden)
        return hidden + FlaxCLIPMLP(config, dtype, name="mlp")(normed)


class FlaxCLIPLayerCollection(nn.Module):
    """All blocks, one after the other."""

    config: TransformerConfig
    causal: bool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, hidden: Hidden) -> tuple[Hidden, ...]:
        """What enters the first block, and what leaves each: `num_hidden_layers` + 1 arrays."""
        states = [hidden]
        for i in range(self.config.num_hidden_layers):
            layer = FlaxCLIPEncoderLayer(self.config, self.causal, self.dtype, name=str(i))
            states.append(layer(states[-1]))
        return tuple(states)


class FlaxCLIPEncoder(nn.Module):
    """The blocks under the name that checkpoints give them."""

    config: TransformerConfig
    causal: bool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, hidden: Hidden) -> tuple[Hidden, ...]:
        """See `FlaxCLIPLayerCollection`."""
        layers = FlaxCLIPLayerCollection(self.config, self.causal, self.dtype, name="layers")
        return layers(hidden)


def layer_norm(config: TransformerConfig, dtype: Any, name: str) -> nn.LayerNorm:
    """A norm of every token as PyTorch takes it: its variance in a second pass, in float32."""
    return nn.LayerNorm(
        epsilon=config.layer_norm_eps, use_fast_variance=False, dtype=dtype, name=name
    )


def _quick_gelu(x: jax.Array) -> jax.Array:
    """OpenAI's approximation: x · sigmoid(1.702 x)."""
    return x * jax.nn.sigmoid(1.702 * x)


def _gelu(x: jax.Array) -> jax.Array:
    return jax.nn.gelu(x, approximate=False)


_ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "quick_gelu": _quick_gelu,
    "gelu": _gelu,
}

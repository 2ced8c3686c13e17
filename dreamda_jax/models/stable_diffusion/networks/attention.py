"""Multi-head attention (Vaswani et al. 2017, arXiv 1706.03762) as Stable Diffusion has it."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dreamda_jax.models.stable_diffusion import fused_attention
from dreamda_jax.models.stable_diffusion.fused_attention import Attention, Heads


class FlaxAttention(nn.Module):
    """softmax(Q Kᵀ / √d) V of h heads, with dense layers "to_q", "to_k", "to_v" and "to_out_0".

    Attributes:
        heads: h.
        dim_head: d, the width of a head.
        upcast: whether Q Kᵀ is computed in float32: networks whose scores overflow 16 bits
            (Stable Diffusion 2.1) ask for it by `upcast_attention`.
        attention: how tokens attend to each other where they are many; see `fused_attention`.
        dtype: of the result.
    """

    heads: int
    dim_head: int
    upcast: bool = False
    attention: Attention = "plain"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, hidden: Float[Array, "b i c"], context: Float[Array, "b j e"] | None = None
    ) -> Float[Array, "b i c"]:
        """Attends to the context, or, without one, to the hidden states themselves."""
        attended_to = hidden if context is None else context

        def heads(tokens: jax.Array, name: str) -> Heads:
            width = self.heads * self.dim_head
            projected = nn.Dense(width, use_bias=False, dtype=self.dtype, name=name)(tokens)
            return projected.reshape(*tokens.shape[:2], self.heads, self.dim_head)

        query = heads(hidden, "to_q")
        key, value = heads(attended_to, "to_k"), heads(attended_to, "to_v")
        scale = self.dim_head**-0.5
        if context is None and fused_attention.suits(self.attention, tokens=hidden.shape[1]):
            attended = fused_attention.attend(query, key, value, scale=scale, form=self.attention)
        else:
            attended = plain_attention(query, key, value, scale=scale, upcast=self.upcast)
        joined = attended.reshape(*hidden.shape[:2], -1)
        result: jax.Array = nn.Dense(hidden.shape[-1], dtype=self.dtype, name="to_out_0")(joined)
        return result


def plain_attention(query: Heads, key: Heads, value: Heads, *, scale: float, upcast: bool) -> Heads:
    """Attention that writes the scores [b, h, i, j] to memory.

    Args:
        query: [b, i, h, d].
        key: [b, j, h, d].
        value: [b, j, h, d].
        scale: of the scores; it goes into the query, so that float16 has room for them.
        upcast: whether the scores are float32; the softmax is in any case.

    Returns:
        [b, i, h, d] in the dtype of `value`.
    """
    if upcast:
        query, key = query.astype(jnp.float32), key.astype(jnp.float32)
    scores = jnp.einsum("bihd,bjhd->bhij", query * scale, key)
    probabilities = softmax(scores.astype(jnp.float32)).astype(value.dtype)
    return jnp.einsum("bhij,bjhd->bihd", probabilities, value)


@jax.custom_jvp
def softmax(scores: Float[Array, "... j"]) -> Float[Array, "... j"]:
    """Softmax over the last axis, with the same bits in a program for one device and for several.

    The gradient of a softmax e / s needs 1 / s as well. In a program for one device XLA then
    computes the softmax as e · (1 / s), in one for several devices it keeps the division: 1e-8 of
    the gradient, and AdamW carries that on to the third digit of what is learnt (jax 0.10, CPU).
    Written as a product with the reciprocal there is one way only.
    """
    exponentials = jnp.exp(scores - jnp.max(scores, axis=-1, keepdims=True))
    return exponentials * (1 / jnp.sum(exponentials, axis=-1, keepdims=True))


@softmax.defjvp
def _softmax_jvp(
    primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    # By itself JAX would keep the exponentials beside the probabilities for the backward pass.
    probabilities = softmax(*primals)
    weighted = probabilities * tangents[0]
    return probabilities, weighted - probabilities * jnp.sum(weighted, axis=-1, keepdims=True)

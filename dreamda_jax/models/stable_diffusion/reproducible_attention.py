"""Attention whose gradient is rounded alike on one device and on several.

The gradient of a softmax e / s needs 1 / s as well. In a program for one device XLA then computes
the softmax as e · (1 / s), in one for several devices it keeps the division: seven divisions of the
tiny U-Net, 1e-8 of the gradient, and AdamW carries them on to the third digit of what is learnt
(jax 0.10, CPU). Written as a product with the reciprocal, both programs give the same bits.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from dreamda_jax.models.stable_diffusion.corrections import Interceptor


def reproducible_attention(*, attention_class: type[nn.Module]) -> Interceptor:
    """Build the interceptor that replaces `attention_class.__call__`.

    Args:
        attention_class: diffusers' `FlaxAttention`, with neither `split_head_dim` nor
            memory-efficient attention.
    """

    def intercept(
        next_fun: Callable[..., Any],
        args: tuple,
        kwargs: dict,
        context: nn.module.InterceptorContext,
    ) -> Any:
        if context.method_name != "__call__" or not isinstance(context.module, attention_class):
            return next_fun(*args, **kwargs)
        return _attend(context.module, *args, **kwargs)

    return intercept


def _attend(
    module: Any,
    hidden_states: jax.Array,
    context: jax.Array | None = None,
    deterministic: bool = True,
) -> jax.Array:
    """Multi-head attention of [r, i, d] to the context [r, j, d'], or to itself."""
    context = hidden_states if context is None else context
    query, key, value = (
        module.reshape_heads_to_batch_dim(tensor)
        for tensor in (module.query(hidden_states), module.key(context), module.value(context))
    )
    scores = jnp.einsum("b i d, b j d -> b i j", query, key) * module.scale
    highest = jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True))
    exponentials = jnp.exp(scores - highest)
    probabilities = exponentials * (1 / exponentials.sum(axis=-1, keepdims=True))
    attended = jnp.einsum("b i j, b j d -> b i d", probabilities, value)
    made = module.proj_attn(module.reshape_batch_dim_to_heads(attended))
    return module.dropout_layer(made, deterministic=deterministic)

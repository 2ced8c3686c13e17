"""Self-attention by kernels that never write the scores to memory, chosen by device.

Stable Diffusion 1.5 at 512 pixels attends among 4,096 tokens: the plain form writes 8 heads of
4,096² scores for every row and reads them back, which is most of the memory traffic of a step.
cuDNN's flash attention (GPUs) and the Pallas kernel that ships with JAX (TPUs) keep them on the
chip; they compute the same function in another order. Where there are few tokens, and for the 77 of
a prompt, the plain form stays.
"""

from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dreamda_jax.models.stable_diffusion.corrections import Interceptor

Attention = Literal["plain", "cudnn", "flash"]
Heads = Float[Array, "r s h d"]

_MIN_TOKENS = 1024
_CUDNN_CAPABILITY = 8  # major: since Ampere
_BLOCK = 512  # tokens of queries, and of keys, that a TPU holds in its fast memory at a time


def for_device(device: jax.Device, dtype: Any) -> Attention:
    """Which form suits a device, which may be one of a topology that is only compiled for.

    cuDNN's kernel takes 16-bit numbers and needs compute capability 8.0
    (https://github.com/NVIDIA/TransformerEngine, common/fused_attn/fused_attn.cpp), so a T4, which
    has 7.5, takes the plain form. XLA would compile the other for it all the same.
    """
    if device.platform == "tpu":
        return "flash"
    if device.platform not in ("gpu", "cuda") or jnp.dtype(dtype).itemsize != 2:
        return "plain"
    major = device.compute_capability.partition(".")[0]  # "8" of "8.0"; AMD's is such as "gfx90a"
    is_new = major.isdigit() and int(major) >= _CUDNN_CAPABILITY
    return "cudnn" if is_new else "plain"


def fused_attention(*, attention_class: type[nn.Module], attention: Attention) -> Interceptor:
    """Build the interceptor that replaces self-attention among many tokens.

    Args:
        attention_class: diffusers' `FlaxAttention`.
        attention: "cudnn" or "flash".

    Raises:
        ValueError: another form.
    """
    if attention not in _KERNELS:
        raise ValueError(f"attention must be one of {', '.join(_KERNELS)}, got {attention!r}")
    kernel = _KERNELS[attention]

    def intercept(
        next_fun: Callable[..., Any],
        args: tuple,
        kwargs: dict,
        context: nn.module.InterceptorContext,
    ) -> Any:
        is_call = context.method_name == "__call__"
        if not is_call or not isinstance(context.module, attention_class):
            return next_fun(*args, **kwargs)
        hidden_states, to = args[0], args[1] if len(args) > 1 else kwargs.get("context")
        if to is not None or hidden_states.shape[1] < _MIN_TOKENS:
            return next_fun(*args, **kwargs)
        return _attend(context.module, hidden_states, kernel)

    return intercept


def _attend(module: Any, hidden_states: jax.Array, kernel: Callable[..., Heads]) -> jax.Array:
    """Multi-head self-attention of [r, s, heads · d]; dropout is 0 in every model we build."""

    def heads(tensor: jax.Array) -> Heads:
        return tensor.reshape(*tensor.shape[:2], module.heads, module.dim_head)

    query, key, value = (
        heads(projection(hidden_states)) for projection in (module.query, module.key, module.value)
    )
    attended = kernel(query, key, value, scale=module.scale)
    return module.proj_attn(attended.reshape((*hidden_states.shape[:2], -1)))


def _cudnn(query: Heads, key: Heads, value: Heads, *, scale: float) -> Heads:
    return jax.nn.dot_product_attention(query, key, value, scale=scale, implementation="cudnn")


def _flash(query: Heads, key: Heads, value: Heads, *, scale: float) -> Heads:
    # Pallas' TPU kernels are loaded where they are wanted: importing them takes a second.
    from jax.experimental.pallas.ops.tpu import flash_attention

    block = min(_BLOCK, query.shape[1])
    sizes = flash_attention.BlockSizes(block_q=block, block_k_major=block, block_k=block, block_b=1)
    rows_heads_tokens = (tensor.swapaxes(1, 2) for tensor in (query, key, value))
    attended = flash_attention.flash_attention(
        *rows_heads_tokens, sm_scale=scale, block_sizes=sizes
    )
    return attended.swapaxes(1, 2)


_KERNELS: dict[str, Callable[..., Heads]] = {"cudnn": _cudnn, "flash": _flash}

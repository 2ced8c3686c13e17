"""Self-attention by kernels that never write the scores to memory, chosen by device.

Stable Diffusion 1.5 at 512 pixels attends among 4,096 tokens: the plain form writes 8 heads of
4,096² scores for every row and reads them back, which is most of the memory traffic of a step.
cuDNN's flash attention (GPUs) and the Pallas kernel that ships with JAX (TPUs) keep them on the
chip; they compute the same function in another order. Where there are few tokens, and for the 77 of
a prompt, the plain form stays.
"""

import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Attention = Literal["plain", "cudnn", "flash"]
Heads = Float[Array, "r s h d"]

_MIN_TOKENS = 1024
_CUDNN_CAPABILITY = 8  # major: since Ampere
_BLOCK = 512  # tokens of queries, and of keys, that a TPU holds in its fast memory at a time
_LANES = 128  # a TPU's block is a multiple of them


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


def suits(form: Attention, *, tokens: int) -> bool:
    """Whether so many tokens attend to each other by the kernel of `form`.

    "plain" has none, few tokens are faster without, and a TPU's kernel takes whole blocks only.

    Raises:
        ValueError: another form.
    """
    if form not in ("plain", *_KERNELS):
        raise ValueError(f"attention must be plain or one of {', '.join(_KERNELS)}, got {form!r}")
    is_whole = form != "flash" or tokens % _LANES == 0
    return form != "plain" and tokens >= _MIN_TOKENS and is_whole


def attend(query: Heads, key: Heads, value: Heads, *, scale: float, form: Attention) -> Heads:
    """softmax(Q Kᵀ · scale) V by the kernel of `form`, among tokens that it `suits`.

    Args:
        query: [r, s, h, d].
        key: [r, s, h, d].
        value: [r, s, h, d].
        scale: of the scores.
        form: "cudnn" or "flash".

    Returns:
        [r, s, h, d].
    """
    return _KERNELS[form](query, key, value, scale=scale)


def _cudnn(query: Heads, key: Heads, value: Heads, *, scale: float) -> Heads:
    return jax.nn.dot_product_attention(query, key, value, scale=scale, implementation="cudnn")


def _flash(query: Heads, key: Heads, value: Heads, *, scale: float) -> Heads:
    # Pallas' TPU kernels are loaded where they are wanted: importing them takes a second.
    from jax.experimental.pallas.ops.tpu import flash_attention

    block = math.gcd(_BLOCK, query.shape[1])
    sizes = flash_attention.BlockSizes(block_q=block, block_k_major=block, block_k=block, block_b=1)
    rows_heads_tokens = (tensor.swapaxes(1, 2) for tensor in (query, key, value))
    attended = flash_attention.flash_attention(
        *rows_heads_tokens, sm_scale=scale, block_sizes=sizes
    )
    return attended.swapaxes(1, 2)


_KERNELS: dict[str, Callable[..., Heads]] = {"cudnn": _cudnn, "flash": _flash}

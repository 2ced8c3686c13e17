"""Shifted-window cosine attention with a log-spaced continuous position bias.

Liu et al., *Swin Transformer V2: Scaling Up Capacity and Resolution* (arXiv 2111.09883), §3.2 and
§3.3, with the numbers of torchvision's `ShiftedWindowAttentionV2`
(torchvision/models/swin_transformer.py). That file also fixes what the paper leaves open: a feature
map is padded with zeros to whole windows, and the padding takes part in the attention.
"""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

# torchvision's trunc_normal_ cuts at ±2, which is ±100 standard deviations: a plain normal.
LINEAR_INIT = nn.initializers.normal(0.02)

_MAX_LOG_SCALE = math.log(100.0)
_ACROSS_SEAM = -100.0  # not -inf: torchvision lets a strong logit through
_MIN_SQUARED_NORM = 1e-24  # torch.nn.functional.normalize: the norm is at least 1e-12


class WindowAttention(nn.Module):
    """Multi-head attention inside square windows of a feature map.

    Softmax, norms, logit scale and position bias are float32 whatever `dtype` is.

    Attributes:
      num_heads: how many heads share the channels.
      window_size: side of a window, in tokens.
      shift_size: how far the windows are moved down and right, in tokens. An axis that one window
        covers is not shifted.
      dtype: computation dtype of the projections and of the two products.
    """

    num_heads: int
    window_size: int
    shift_size: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w d"]) -> Float[Array, "b h w d"]:
        """Attends inside each window; any height and width, the result has the shape of `x`."""
        height, width, dim = x.shape[1:]
        side = self.window_size
        x = jnp.pad(x, ((0, 0), (0, -height % side), (0, -width % side), (0, 0)))
        padded = x.shape[1:3]
        shift = tuple(self.shift_size if length > side else 0 for length in padded)

        x = _split_windows(jnp.roll(x, (-shift[0], -shift[1]), (1, 2)), side)
        qkv = QueryKeyValue(self.dtype, name="qkv")(x)
        q, k, v = jnp.moveaxis(qkv.reshape(*x.shape[:3], 3, self.num_heads, -1), 3, 0)
        log_scale = self.param(
            "logit_scale", nn.initializers.constant(math.log(10.0)), (self.num_heads, 1, 1)
        )
        logits = jnp.einsum(
            "bwnhd,bwmhd->bwhnm", _unit(q), _unit(k), preferred_element_type=jnp.float32
        )
        logits *= jnp.exp(jnp.minimum(log_scale, _MAX_LOG_SCALE))
        logits += PositionBias(self.num_heads, side, name="cpb_mlp")()
        if any(shift):
            logits += shift_mask(padded, side, shift)[:, None]
        weights = nn.softmax(logits).astype(self.dtype)
        x = jnp.einsum("bwhnm,bwmhd->bwnhd", weights, v).reshape(x.shape)
        x = nn.Dense(dim, dtype=self.dtype, kernel_init=LINEAR_INIT, name="proj")(x)
        x = jnp.roll(_join_windows(x, padded, side), shift, (1, 2))
        return x[:, :height, :width]


class QueryKeyValue(nn.Module):
    """The linear map [..., d] -> [..., 3 d] to queries, keys and values; the keys have no bias.

    The bias has 3 d entries nevertheless: torchvision stores the keys' and ignores it.
    """

    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b e"]:
        """Returns queries, keys and values, concatenated in this order."""
        dim = x.shape[-1]
        kernel = self.param("kernel", LINEAR_INIT, (dim, 3 * dim))
        bias = self.param("bias", nn.initializers.zeros, (3 * dim,))
        bias = jnp.concatenate([bias[:dim], jnp.zeros(dim), bias[2 * dim :]])
        return x.astype(self.dtype) @ kernel.astype(self.dtype) + bias.astype(self.dtype)


class PositionBias(nn.Module):
    """Log-spaced continuous position bias: 16 · sigmoid(MLP(Δ)) for each offset Δ in a window."""

    num_heads: int
    window_size: int

    @nn.compact
    def __call__(self) -> Float[Array, "heads n n"]:
        """Returns the bias of each pair of the n = window_size² tokens, float32, in 0..16."""
        # Tiny, and magnified by 16: not worth the accelerators' short products.
        dense = functools.partial(nn.Dense, kernel_init=LINEAR_INIT, precision="highest")
        hidden = nn.relu(dense(512, name="dense_0")(relative_coordinates(self.window_size)))
        table = 16 * nn.sigmoid(dense(self.num_heads, use_bias=False, name="dense_2")(hidden))
        return table[relative_index(self.window_size)].transpose(2, 0, 1)


@functools.cache
def relative_coordinates(window_size: int) -> Float[np.ndarray, "offsets 2"]:
    """All (2 window_size - 1)² offsets between two tokens, row by row, log-spaced (Eq. 4).

    Offsets are first scaled to -8..8, as in torchvision and timm; then each is
    sign(Δ) · log2(1 + |Δ|) / log2(8). Float32, in ±1.0566.
    """
    offsets = np.arange(1 - window_size, window_size) * 8 / max(window_size - 1, 1)
    offsets = np.sign(offsets) * np.log2(1 + np.abs(offsets)) / 3
    grid = np.stack(np.meshgrid(offsets, offsets, indexing="ij"), axis=-1)
    return grid.reshape(-1, 2).astype(np.float32)


@functools.cache
def relative_index(window_size: int) -> Int[np.ndarray, "n n"]:
    """For each pair (query, key) of a window's tokens the row of `relative_coordinates`."""
    rows, columns = np.divmod(np.arange(window_size**2), window_size)
    down = rows[:, None] - rows[None] + window_size - 1
    right = columns[:, None] - columns[None] + window_size - 1
    return down * (2 * window_size - 1) + right


@functools.cache
def shift_mask(
    size: tuple[int, int], window_size: int, shift: tuple[int, int]
) -> Float[np.ndarray, "windows n n"]:
    """What to add to the logits of shifted windows: 0, or -100 across a seam.

    The shift is cyclic, so that windows at the lower and right edge hold tokens from opposite ends
    of the feature map. They must not see each other.

    Args:
      size: height and width of the padded feature map, multiples of `window_size`.
      window_size: side of a window.
      shift: of the rows and of the columns, 0 <= shift < window_size.
    """

    def regions(length: int, shift: int) -> Int[np.ndarray, "length"]:
        return np.where(np.arange(length) >= length - shift, 1, 0)

    ids = 2 * regions(size[0], shift[0])[:, None] + regions(size[1], shift[1])[None]
    ids = ids.reshape(size[0] // window_size, window_size, size[1] // window_size, window_size)
    ids = ids.transpose(0, 2, 1, 3).reshape(-1, window_size**2)
    same = ids[:, :, None] == ids[:, None, :]
    return np.where(same, 0, _ACROSS_SEAM).astype(np.float32)


def _split_windows(x: Float[Array, "b h w d"], side: int) -> Float[Array, "b windows n d"]:
    batch, height, width, dim = x.shape
    x = x.reshape(batch, height // side, side, width // side, side, dim)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, -1, side * side, dim)


def _join_windows(
    x: Float[Array, "b windows n d"], size: tuple[int, ...], side: int
) -> Float[Array, "b h w d"]:
    batch, dim = x.shape[0], x.shape[-1]
    x = x.reshape(batch, size[0] // side, size[1] // side, side, side, dim)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, *size, dim)


def _unit(x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
    """Divides each vector by its float32 norm; zero stays zero, and its gradient is finite."""
    wide = x.astype(jnp.float32)
    squared_norm = jnp.sum(jnp.square(wide), axis=-1, keepdims=True)
    return (wide * jax.lax.rsqrt(jnp.maximum(squared_norm, _MIN_SQUARED_NORM))).astype(x.dtype)

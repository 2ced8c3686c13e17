"""Residual blocks and the changes of resolution between them (Ho et al. 2020, arXiv 2006.11239)."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dreamda_jax.models.stable_diffusion.networks.common import Common
from dreamda_jax.models.stable_diffusion.networks.group_norm import GroupNorm

Features = Float[Array, "b h w c"]

_conv3x3 = functools.partial(nn.Conv, kernel_size=(3, 3), padding=1)


class FlaxResnetBlock2D(nn.Module):
    """Two normalised convolutions, "norm1", "conv1", "norm2", "conv2", added to the input.

    The time embedding is added between them, through "time_emb_proj". Where the number of channels
    changes, the input passes a 1x1 convolution, "conv_shortcut".

    Attributes:
        out_channels: of the result.
        common: what all blocks of the U-Net share.
    """

    out_channels: int
    common: Common

    @nn.compact
    def __call__(self, hidden: Features, temb: Float[Array, "b t"]) -> Features:
        """Features of the same height and width."""
        channels, dtype = self.out_channels, self.common.dtype
        norm = functools.partial(GroupNorm, self.common.num_groups, self.common.epsilon)
        convolved = _conv3x3(channels, dtype=dtype, name="conv1")(
            nn.silu(norm(name="norm1")(hidden))
        )
        of_time = nn.Dense(channels, dtype=dtype, name="time_emb_proj")(nn.silu(temb))
        convolved = convolved + of_time[:, None, None]
        convolved = _conv3x3(channels, dtype=dtype, name="conv2")(
            nn.silu(norm(name="norm2")(convolved))
        )
        if hidden.shape[-1] != channels:
            hidden = nn.Conv(channels, (1, 1), dtype=dtype, name="conv_shortcut")(hidden)
        return convolved + hidden


class FlaxDownsample2D(nn.Module):
    """A 3x3 convolution "conv" at every other place: ⌈h/2⌉ x ⌈w/2⌉."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, hidden: Features) -> Features:
        """Features with as many channels."""
        # "SAME" would pad an even input on one side only.
        conv = _conv3x3(hidden.shape[-1], strides=(2, 2), dtype=self.dtype, name="conv")
        result: jax.Array = conv(hidden)
        return result


class FlaxUpsample2D(nn.Module):
    """Nearest neighbours, then a 3x3 convolution "conv"."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, hidden: Features, size: tuple[int, int]) -> Features:
        """Features of `size` (height, width), with as many channels."""
        for axis, length in enumerate(size, start=1):
            hidden = _nearest(hidden, axis=axis, length=length)
        result: jax.Array = _conv3x3(hidden.shape[-1], dtype=self.dtype, name="conv")(hidden)
        return result


def _nearest(hidden: Features, *, axis: int, length: int) -> Features:
    """One axis resized as PyTorch's `interpolate` does by default."""
    before = hidden.shape[axis]
    if length == before:
        return hidden
    if length == 2 * before:
        return jnp.repeat(hidden, 2, axis=axis)
    # Odd sizes, which halving has rounded up. PyTorch takes the place below, in float32.
    places = np.floor(np.arange(length, dtype=np.float32) * np.float32(before / length))
    return jnp.take(hidden, np.minimum(places.astype(np.int32), before - 1), axis=axis)

"""The U-Net's blocks: what happens at one resolution on the way down, at the bottom, and back up.

Class names and the names of submodules are those of diffusers' Flax classes, by which checkpoints
name parameters and interceptors find their place. Arguments come in their order too.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from dreamda_jax.models.stable_diffusion.networks.common import Common
from dreamda_jax.models.stable_diffusion.networks.resnet import (
    FlaxDownsample2D,
    FlaxResnetBlock2D,
    FlaxUpsample2D,
)
from dreamda_jax.models.stable_diffusion.networks.transformer import FlaxTransformer2DModel

Features = Float[Array, "b h w c"]
Temb = Float[Array, "b t"]
Context = Float[Array, "b l e"]


class FlaxCrossAttnDownBlock2D(nn.Module):
    """Residual blocks, each followed by a transformer, then half the resolution.

    Attributes:
        out_channels: of all of them.
        num_layers: how many residual blocks, "resnets_0" …, and transformers, "attentions_0" ….
        num_heads: of the transformers.
        depth: of a transformer.
        add_downsample: whether "downsamplers_0" halves the resolution at the end.
        common: what all blocks of the U-Net share.
    """

    out_channels: int
    num_layers: int = 1
    num_heads: int = 1
    depth: int = 1
    add_downsample: bool = True
    common: Common = Common()

    @nn.compact
    def __call__(
        self, hidden: Features, temb: Temb, context: Context
    ) -> tuple[Features, tuple[Features, ...]]:
        """The result, and every output on the way to it, for the skip connections."""
        skips = []
        for i in range(self.num_layers):
            resnet = FlaxResnetBlock2D(self.out_channels, self.common, name=f"resnets_{i}")
            attention = FlaxTransformer2DModel(
                self.num_heads, self.depth, self.common, name=f"attentions_{i}"
            )
            hidden = attention(resnet(hidden, temb), context)
            skips.append(hidden)
        if self.add_downsample:
            hidden = FlaxDownsample2D(self.common.dtype, name="downsamplers_0")(hidden)
            skips.append(hidden)
        return hidden, tuple(skips)


class FlaxDownBlock2D(nn.Module):
    """`FlaxCrossAttnDownBlock2D` without transformers; its attributes are those of that class."""

    out_channels: int
    num_layers: int = 1
    add_downsample: bool = True
    common: Common = Common()

    @nn.compact
    def __call__(self, hidden: Features, temb: Temb) -> tuple[Features, tuple[Features, ...]]:
        """The result, and every output on the way to it, for the skip connections."""
        skips = []
        for i in range(self.num_layers):
            hidden = FlaxResnetBlock2D(self.out_channels, self.common, name=f"resnets_{i}")(
                hidden, temb
            )
            skips.append(hidden)
        if self.add_downsample:
            hidden = FlaxDownsample2D(self.common.dtype, name="downsamplers_0")(hidden)
            skips.append(hidden)
        return hidden, tuple(skips)


class FlaxUNetMidBlock2DCrossAttn(nn.Module):
    """The bottleneck: a residual block, a transformer and another residual block.

    Attributes:
        num_heads: of the transformer.
        depth: of the transformer.
        common: what all blocks of the U-Net share.
    """

    num_heads: int = 1
    depth: int = 1
    common: Common = Common()

    @nn.compact
    def __call__(self, hidden: Features, temb: Temb, context: Context) -> Features:
        """Features of the same shape."""
        channels = hidden.shape[-1]
        hidden = FlaxResnetBlock2D(channels, self.common, name="resnets_0")(hidden, temb)
        attention = FlaxTransformer2DModel(
            self.num_heads, self.depth, self.common, name="attentions_0"
        )
        hidden = attention(hidden, context)
        return FlaxResnetBlock2D(channels, self.common, name="resnets_1")(hidden, temb)


class FlaxCrossAttnUpBlock2D(nn.Module):
    """Residual blocks that take in a skip connection each, with transformers; then up.

    Attributes:
        out_channels: of all of them.
        num_layers: how many residual blocks, "resnets_0" …, and transformers, "attentions_0" ….
        num_heads: of the transformers.
        depth: of a transformer.
        common: what all blocks of the U-Net share.
    """

    out_channels: int
    num_layers: int = 1
    num_heads: int = 1
    depth: int = 1
    common: Common = Common()

    @nn.compact
    def __call__(
        self,
        hidden: Features,
        skips: tuple[Features, ...],
        temb: Temb,
        context: Context,
        size: tuple[int, int] | None = None,
    ) -> Features:
        """The result.

        Args:
            hidden: of the block before.
            skips: `num_layers` outputs of the way down; the last of them is taken in first.
            temb: the time embedding.
            context: the prompt's embedding.
            size: height and width that "upsamplers_0" makes at the end; None: it is not there.
        """
        for i in range(self.num_layers):
            hidden = _join(hidden, skips[-1 - i])
            resnet = FlaxResnetBlock2D(self.out_channels, self.common, name=f"resnets_{i}")
            attention = FlaxTransformer2DModel(
                self.num_heads, self.depth, self.common, name=f"attentions_{i}"
            )
            hidden = attention(resnet(hidden, temb), context)
        if size is not None:
            hidden = FlaxUpsample2D(self.common.dtype, name="upsamplers_0")(hidden, size)
        return hidden


class FlaxUpBlock2D(nn.Module):
    """`FlaxCrossAttnUpBlock2D` without transformers; its attributes are those of that class."""

    out_channels: int
    num_layers: int = 1
    common: Common = Common()

    @nn.compact
    def __call__(
        self,
        hidden: Features,
        skips: tuple[Features, ...],
        temb: Temb,
        size: tuple[int, int] | None = None,
    ) -> Features:
        """The result; arguments as those of `FlaxCrossAttnUpBlock2D`."""
        for i in range(self.num_layers):
            hidden = _join(hidden, skips[-1 - i])
            hidden = FlaxResnetBlock2D(self.out_channels, self.common, name=f"resnets_{i}")(
                hidden, temb
            )
        if size is not None:
            hidden = FlaxUpsample2D(self.common.dtype, name="upsamplers_0")(hidden, size)
        return hidden


def _join(hidden: Features, skip: Features) -> Features:
    return jnp.concatenate([hidden, skip], axis=-1)

"""Stable Diffusion's VAE: images to the distribution of their latents, and latents to images.

Rombach et al. 2022 (https://arxiv.org/abs/2112.10752, section 3.1), with the settings of PyTorch
diffusers' `AutoencoderKL`; see `vae_blocks` for what its numbers and names are held to.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from dreamda_jax.models.stable_diffusion.networks.vae_blocks import (
    Features,
    FlaxDownEncoderBlock2D,
    FlaxUNetMidBlock2D,
    FlaxUpDecoderBlock2D,
    conv3,
    group_norm,
)

Pixels = Float[Array, "b h w 3"]

_LOG_VARIANCES = (-30.0, 20.0)  # diffusers' `DiagonalGaussianDistribution` clips them so


class Posterior(NamedTuple):
    """A normal distribution of every number of the latents, float32 [b, h / f, w / f, z] each."""

    mean: Features
    std: Features


class FlaxEncoder(nn.Module):
    """Images to means and log-variances of their latents, one after the other in the channels.

    Attributes:
        out_channels: z, numbers in a cell of the latents.
        block_out_channels: width of each size, the largest size first.
        layers_per_block: residual blocks of each size.
        norm_num_groups: of the norms; divides every width.
        mid_block_add_attention: whether the smallest size has attention.
        dtype: of the computation.
    """

    out_channels: int
    block_out_channels: tuple[int, ...]
    layers_per_block: int
    norm_num_groups: int
    mid_block_add_attention: bool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, pixels: Pixels) -> Features:
        """[b, h, w, 3] to [b, h / f, w / f, 2z]."""
        groups, dtype, widths = self.norm_num_groups, self.dtype, self.block_out_channels
        hidden = conv3(widths[0], dtype, "conv_in")(pixels)
        for i, width in enumerate(widths):
            hidden = FlaxDownEncoderBlock2D(
                width,
                num_layers=self.layers_per_block,
                groups=groups,
                add_downsample=i < len(widths) - 1,
                dtype=dtype,
                name=f"down_blocks_{i}",
            )(hidden)
        attention = self.mid_block_add_attention
        hidden = FlaxUNetMidBlock2D(groups, attention, dtype, name="mid_block")(hidden)
        hidden = nn.silu(group_norm(groups, "conv_norm_out")(hidden))
        return conv3(2 * self.out_channels, dtype, "conv_out")(hidden)


class FlaxDecoder(nn.Module):
    """Latents to images.

    Attributes:
        out_channels: 3.
        block_out_channels: width of each size, the largest size first, as the encoder has it.
        layers_per_block: residual blocks of each size in the encoder; the decoder has one more.
        norm_num_groups: of the norms; divides every width.
        mid_block_add_attention: whether the smallest size has attention.
        dtype: of the computation.
    """

    out_channels: int
    block_out_channels: tuple[int, ...]
    layers_per_block: int
    norm_num_groups: int
    mid_block_add_attention: bool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, latents: Features) -> Pixels:
        """[b, h / f, w / f, z] to [b, h, w, 3]."""
        groups, dtype, widths = self.norm_num_groups, self.dtype, self.block_out_channels[::-1]
        hidden = conv3(widths[0], dtype, "conv_in")(latents)
        attention = self.mid_block_add_attention
        hidden = FlaxUNetMidBlock2D(groups, attention, dtype, name="mid_block")(hidden)
        for i, width in enumerate(widths):
            hidden = FlaxUpDecoderBlock2D(
                width,
                num_layers=self.layers_per_block + 1,
                groups=groups,
                add_upsample=i < len(widths) - 1,
                dtype=dtype,
                name=f"up_blocks_{i}",
            )(hidden)
        hidden = nn.silu(group_norm(groups, "conv_norm_out")(hidden))
        return conv3(self.out_channels, dtype, "conv_out")(hidden)


class FlaxAutoencoderKL(nn.Module):
    """The VAE of a checkpoint; its attributes are fields of its config.json.

    Attributes:
        out_channels: 3.
        block_out_channels: width of each size, the largest first. f = 2 ** (their number - 1).
        layers_per_block: residual blocks of each size.
        latent_channels: z, numbers in a cell of the latents.
        norm_num_groups: of the norms; divides every width.
        scaling_factor: what the U-Net's latents are of these, for about unit variance. Not applied
            here.
        use_quant_conv: whether a 1 × 1 convolution follows the encoder.
        use_post_quant_conv: whether one precedes the decoder.
        mid_block_add_attention: whether the smallest size has attention.
        dtype: of the computation; float32, bfloat16, or float16 for weights that were made for it.
    """

    out_channels: int = 3
    block_out_channels: tuple[int, ...] = (64,)
    layers_per_block: int = 1
    latent_channels: int = 4
    norm_num_groups: int = 32
    scaling_factor: float = 0.18215
    use_quant_conv: bool = True
    use_post_quant_conv: bool = True
    mid_block_add_attention: bool = True
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Name what checkpoints hold."""
        common = {
            "block_out_channels": self.block_out_channels,
            "layers_per_block": self.layers_per_block,
            "norm_num_groups": self.norm_num_groups,
            "mid_block_add_attention": self.mid_block_add_attention,
            "dtype": self.dtype,
        }
        self.encoder = FlaxEncoder(self.latent_channels, **common)
        self.decoder = FlaxDecoder(self.out_channels, **common)
        if self.use_quant_conv:
            self.quant_conv = nn.Conv(2 * self.latent_channels, (1, 1), dtype=self.dtype)
        if self.use_post_quant_conv:
            self.post_quant_conv = nn.Conv(self.latent_channels, (1, 1), dtype=self.dtype)

    def __call__(self, pixels: Pixels) -> Pixels:
        """Images [b, h, w, 3], and back from the mean of their latents."""
        return self.decode(self.encode(pixels).mean)

    def encode(self, pixels: Pixels) -> Posterior:
        """Distribution of the latents of images [b, h, w, 3], -1 .. 1."""
        moments = self.encoder(pixels)
        if self.use_quant_conv:
            moments = self.quant_conv(moments)
        mean, log_variance = jnp.split(moments.astype(jnp.float32), 2, axis=-1)
        return Posterior(mean, jnp.exp(0.5 * jnp.clip(log_variance, *_LOG_VARIANCES)))

    def decode(self, latents: Features) -> Pixels:
        """Latents [b, h / f, w / f, z] to images, float32 [b, h, w, 3], about -1 .. 1."""
        if self.use_post_quant_conv:
            latents = self.post_quant_conv(latents)
        return self.decoder(latents).astype(jnp.float32)

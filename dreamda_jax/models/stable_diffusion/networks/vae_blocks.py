"""What Stable Diffusion's VAE is built of: residual blocks, attention, and changes of size.

Rombach et al. 2022 (https://arxiv.org/abs/2112.10752, appendix E.2), which takes the blocks of the
VQGAN (https://arxiv.org/abs/2012.09841). Numbers are those of PyTorch diffusers' `AutoencoderKL`:
every norm's epsilon is 1e-6. The classes have the names, and the parameters the tree, of diffusers'
Flax classes (0.39, diffusers/models/vae_flax.py), so its msgpack files load.

Features are [b, h, w, c]. Norms and softmax are taken in float32 whatever the dtype is.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dreamda_jax.models.stable_diffusion.networks.group_norm import GroupNorm

Features = Float[Array, "b h w c"]

NORM_EPSILON = 1e-6


class FlaxUpsample2D(nn.Module):
    """Doubles height and width by repeating cells, then smooths by a convolution."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: Features) -> Features:
        """[b, h, w, c] to [b, 2h, 2w, c]."""
        doubled = jnp.repeat(jnp.repeat(features, 2, axis=1), 2, axis=2)
        return conv3(features.shape[-1], self.dtype, "conv")(doubled)


class FlaxDownsample2D(nn.Module):
    """Halves height and width by a convolution, padded at the bottom and the right alone."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: Features) -> Features:
        """[b, h, w, c] to [b, h // 2, w // 2, c]."""
        return nn.Conv(
            features.shape[-1],
            (3, 3),
            strides=(2, 2),
            padding=((0, 1), (0, 1)),
            dtype=self.dtype,
            name="conv",
        )(features)


class FlaxResnetBlock2D(nn.Module):
    """Two convolutions, each after a norm and SiLU, beside the identity or a 1 × 1 convolution.

    Attributes:
        out_channels: d; where it is the number that comes in, the other path is the identity.
        groups: of the norms.
        dtype: of the computation.
    """

    out_channels: int
    groups: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: Features) -> Features:
        """[b, h, w, c] to [b, h, w, d]."""
        width = self.out_channels
        hidden = nn.silu(group_norm(self.groups, "norm1")(features))
        hidden = conv3(width, self.dtype, "conv1")(hidden)
        hidden = nn.silu(group_norm(self.groups, "norm2")(hidden))
        hidden = conv3(width, self.dtype, "conv2")(hidden)
        if features.shape[-1] != width:
            features = nn.Conv(width, (1, 1), dtype=self.dtype, name="conv_shortcut")(features)
        return features + hidden


class FlaxAttentionBlock(nn.Module):
    """Attention of every cell to every other, with one head, beside the identity."""

    groups: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: Features) -> Features:
        """[b, h, w, c] to the same shape."""
        batch, height, width, channels = features.shape
        normed = group_norm(self.groups, "group_norm")(features)
        cells = normed.reshape(batch, height * width, channels)

        def project(name: str, inputs: jax.Array) -> jax.Array:
            return nn.Dense(channels, dtype=self.dtype, name=name)(inputs)

        query, key, value = (project(name, cells) for name in ("query", "key", "value"))
        query = query * channels**-0.5
        scores = jnp.einsum("bqc,bkc->bqk", query, key, preferred_element_type=jnp.float32)
        weights = jax.nn.softmax(scores, axis=-1).astype(self.dtype)
        gathered = project("proj_attn", jnp.einsum("bqk,bkc->bqc", weights, value))
        return features + gathered.reshape(features.shape)


class FlaxDownEncoderBlock2D(nn.Module):
    """Residual blocks at one size, and the step to half of it.

    Attributes:
        out_channels: d, of all of them.
        num_layers: residual blocks.
        groups: of the norms.
        add_downsample: whether the step follows.
        dtype: of the computation.
    """

    out_channels: int
    num_layers: int
    groups: int
    add_downsample: bool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: Features) -> Features:
        """[b, h, w, c] to [b, h / 2, w / 2, d], or [b, h, w, d] without the step."""
        for i in range(self.num_layers):
            block = FlaxResnetBlock2D(
                self.out_channels, self.groups, self.dtype, name=f"resnets_{i}"
            )
            features = block(features)
        if self.add_downsample:
            features = FlaxDownsample2D(self.dtype, name="downsamplers_0")(features)
        return features


class FlaxUpDecoderBlock2D(nn.Module):
    """Residual blocks at one size, and the step to twice of it.

    Attributes:
        out_channels: d, of all of them.
        num_layers: residual blocks.
        groups: of the norms.
        add_upsample: whether the step follows.
        dtype: of the computation.
    """

    out_channels: int
    num_layers: int
    groups: int
    add_upsample: bool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: Features) -> Features:
        """[b, h, w, c] to [b, 2h, 2w, d], or [b, h, w, d] without the step."""
        for i in range(self.num_layers):
            block = FlaxResnetBlock2D(
                self.out_channels, self.groups, self.dtype, name=f"resnets_{i}"
            )
            features = block(features)
        if self.add_upsample:
            features = FlaxUpsample2D(self.dtype, name="upsamplers_0")(features)
        return features


class FlaxUNetMidBlock2D(nn.Module):
    """Two residual blocks at the smallest size, with attention between them.

    Attributes:
        groups: of the norms.
        add_attention: whether there is attention.
        dtype: of the computation.
    """

    groups: int
    add_attention: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, features: Features) -> Features:
        """[b, h, w, c] to the same shape."""

        def resnet(name: str) -> FlaxResnetBlock2D:
            return FlaxResnetBlock2D(features.shape[-1], self.groups, self.dtype, name=name)

        hidden = resnet("resnets_0")(features)
        if self.add_attention:
            hidden = FlaxAttentionBlock(self.groups, self.dtype, name="attentions_0")(hidden)
        return resnet("resnets_1")(hidden)


def conv3(channels: int, dtype: Any, name: str) -> nn.Conv:
    """A 3 × 3 convolution that keeps the size."""
    return nn.Conv(channels, (3, 3), padding=((1, 1), (1, 1)), dtype=dtype, name=name)


def group_norm(groups: int, name: str) -> GroupNorm:
    """A norm with the VAE's epsilon."""
    return GroupNorm(groups, NORM_EPSILON, name=name)

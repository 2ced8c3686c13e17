"""The U-Net of Stable Diffusion 1.x, 2.x, XL and of latent consistency models.

Ho et al. 2020 (arXiv 2006.11239) with the transformers of Rombach et al. 2022 (arXiv 2112.10752);
Podell et al. 2023 (arXiv 2307.01952) for XL. Numbers are those of PyTorch diffusers'
`UNet2DConditionModel`; parameters have the names that diffusers' Flax classes gave them.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dreamda_jax.models.stable_diffusion.fused_attention import Attention
from dreamda_jax.models.stable_diffusion.networks.common import Common
from dreamda_jax.models.stable_diffusion.networks.group_norm import GroupNorm
from dreamda_jax.models.stable_diffusion.networks.time_embedding import (
    FlaxTimestepEmbedding,
    timestep_features,
)
from dreamda_jax.models.stable_diffusion.networks.unet_blocks import (
    Context,
    Features,
    FlaxCrossAttnDownBlock2D,
    FlaxCrossAttnUpBlock2D,
    FlaxDownBlock2D,
    FlaxUNetMidBlock2DCrossAttn,
    FlaxUpBlock2D,
    Temb,
)

PerBlock = int | tuple[int, ...]
"""One number for all blocks, or one for each block on the way down."""


class FlaxUNet2DConditionModel(nn.Module):
    """Predicts the noise (or the velocity) in latents, from the timestep and a prompt.

    Attributes are the fields of a checkpoint's unet/config.json, with PyTorch diffusers' defaults;
    `supported_configs.check_unet` knows the fields that are not here.

    Attributes:
        sample_size: side of the latents it was trained on; nothing depends on it.
        in_channels: of the latents.
        out_channels: of the result.
        down_block_types: "CrossAttnDownBlock2D" or "DownBlock2D" for each block.
        up_block_types: "CrossAttnUpBlock2D" or "UpBlock2D" for each block on the way up.
        block_out_channels: channels of each block on the way down.
        layers_per_block: residual blocks of a block; one more on the way up.
        transformer_layers_per_block: depth of a block's transformers.
        attention_head_dim: *how many* heads the transformers have; the field was named wrongly
            before it was published.
        cross_attention_dim: width of the prompt's embedding.
        use_linear_projection: see `Common`.
        upcast_attention: see `Common`.
        norm_num_groups: see `Common`.
        norm_eps: see `Common`.
        flip_sin_to_cos: whether cosines come first in the features of a timestep.
        freq_shift: see `timestep_features`.
        addition_embed_type: None, or "text_time": sizes and a pooled prompt join the timestep (XL).
        addition_time_embed_dim: features of each of those sizes.
        projection_class_embeddings_input_dim: width of pooled prompt and sizes' features together.
        time_cond_proj_dim: width of a condition that joins the timestep's features (LCM), or None.
        attention: see `Common`.
        dtype: of activations and of the result: float32, bfloat16 or float16.
    """

    sample_size: int = 64
    in_channels: int = 4
    out_channels: int = 4
    down_block_types: tuple[str, ...] = (*["CrossAttnDownBlock2D"] * 3, "DownBlock2D")
    up_block_types: tuple[str, ...] = ("UpBlock2D", *["CrossAttnUpBlock2D"] * 3)
    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    layers_per_block: PerBlock = 2
    transformer_layers_per_block: PerBlock = 1
    attention_head_dim: PerBlock = 8
    cross_attention_dim: int = 1280
    use_linear_projection: bool = False
    upcast_attention: bool = False
    norm_num_groups: int = 32
    norm_eps: float = 1e-5
    flip_sin_to_cos: bool = True
    freq_shift: float = 0
    addition_embed_type: str | None = None
    addition_time_embed_dim: int | None = None
    projection_class_embeddings_input_dim: int | None = None
    time_cond_proj_dim: int | None = None
    attention: Attention = "plain"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        sample: Float[Array, "b c h w"],
        timesteps: Float[Array, " b"],
        encoder_hidden_states: Context,
        *,
        text_embeds: Float[Array, "b p"] | None = None,
        time_ids: Float[Array, "b s"] | None = None,
        timestep_cond: Float[Array, "b k"] | None = None,
        mid_block_additional_residual: Features | None = None,
    ) -> Float[Array, "b c h w"]:
        """The prediction, in `dtype`.

        Args:
            sample: noisy latents. Height and width may be any: what halving rounds up is cut off
                again on the way up.
            timesteps: of each row.
            encoder_hidden_states: the prompt's embedding, [b, l, cross_attention_dim].
            text_embeds: with "text_time", the pooled embedding of the prompt.
            time_ids: with "text_time", original size, crop and target size in pixels, [b, 6].
            timestep_cond: with `time_cond_proj_dim`, the embedded guidance scale; None: no
                condition.
            mid_block_additional_residual: added to the mid block's output, [b, h', w', d].

        Raises:
            ValueError: "text_time" without its two arrays.
        """
        temb = self._time_embedding(timesteps, text_embeds, time_ids, timestep_cond)
        context = encoder_hidden_states.astype(self.dtype)
        hidden = jnp.transpose(sample, (0, 2, 3, 1)).astype(self.dtype)
        hidden = nn.Conv(
            self.block_out_channels[0], (3, 3), padding=1, dtype=self.dtype, name="conv_in"
        )(hidden)
        hidden, skips = self._down(hidden, temb, context)
        heads, depths = self._for_blocks("attention_head_dim", "transformer_layers_per_block")
        middle = FlaxUNetMidBlock2DCrossAttn(
            heads[-1], depths[-1], common=self._common(), name="mid_block"
        )
        hidden = middle(hidden, temb, context)
        if mid_block_additional_residual is not None:
            hidden = hidden + mid_block_additional_residual
        hidden = self._up(hidden, skips, temb, context)
        hidden = GroupNorm(self.norm_num_groups, self.norm_eps, name="conv_norm_out")(hidden)
        result = nn.Conv(self.out_channels, (3, 3), padding=1, dtype=self.dtype, name="conv_out")(
            nn.silu(hidden)
        )
        return jnp.transpose(result, (0, 3, 1, 2))

    @nn.nowrap
    def _time_embedding(
        self,
        timesteps: jax.Array,
        text_embeds: jax.Array | None,
        time_ids: jax.Array | None,
        condition: jax.Array | None,
    ) -> Temb:
        def features(numbers: jax.Array, dim: int) -> jax.Array:
            return timestep_features(
                numbers, dim, cosine_first=self.flip_sin_to_cos, freq_shift=self.freq_shift
            )

        dim = 4 * self.block_out_channels[0]
        if self.time_cond_proj_dim is not None and condition is None and self.is_initializing():
            condition = jnp.zeros((timesteps.shape[0], self.time_cond_proj_dim))
        temb: jax.Array = FlaxTimestepEmbedding(
            dim, self.time_cond_proj_dim is not None, self.dtype, name="time_embedding"
        )(features(timesteps, self.block_out_channels[0]), condition)
        if self.addition_embed_type is None:
            return temb
        if text_embeds is None or time_ids is None:
            raise ValueError('addition_embed_type "text_time" needs text_embeds and time_ids')
        assert self.addition_time_embed_dim is not None
        sizes = features(time_ids.reshape(-1), self.addition_time_embed_dim)
        added = jnp.concatenate([text_embeds, sizes.reshape(len(text_embeds), -1)], axis=-1)
        return temb + FlaxTimestepEmbedding(dim, dtype=self.dtype, name="add_embedding")(added)

    @nn.nowrap
    def _down(
        self, hidden: Features, temb: Temb, context: Context
    ) -> tuple[Features, list[Features]]:
        """The result and the skip connections, from the first convolution on."""
        layers, heads, depths = self._for_blocks(
            "layers_per_block", "attention_head_dim", "transformer_layers_per_block"
        )
        common, skips = self._common(), [hidden]
        last = len(self.block_out_channels) - 1
        for i, kind in enumerate(self.down_block_types):
            channels, name = self.block_out_channels[i], f"down_blocks_{i}"
            if kind == "CrossAttnDownBlock2D":
                hidden, made = FlaxCrossAttnDownBlock2D(
                    channels, layers[i], heads[i], depths[i], i < last, common, name=name
                )(hidden, temb, context)
            else:
                hidden, made = FlaxDownBlock2D(channels, layers[i], i < last, common, name=name)(
                    hidden, temb
                )
            skips.extend(made)
        return hidden, skips

    @nn.nowrap
    def _up(
        self, hidden: Features, skips: list[Features], temb: Temb, context: Context
    ) -> Features:
        layers, heads, depths, channels = (
            numbers[::-1]
            for numbers in self._for_blocks(
                "layers_per_block",
                "attention_head_dim",
                "transformer_layers_per_block",
                "block_out_channels",
            )
        )
        common, left = self._common(), tuple(skips)
        for i, kind in enumerate(self.up_block_types):
            count = layers[i] + 1
            left, taken = left[:-count], left[-count:]
            # As the next block's skip connections are: halving may have rounded up.
            size = (left[-1].shape[1], left[-1].shape[2]) if left else None
            name = f"up_blocks_{i}"
            if kind == "CrossAttnUpBlock2D":
                hidden = FlaxCrossAttnUpBlock2D(
                    channels[i], count, heads[i], depths[i], common, name=name
                )(hidden, taken, temb, context, size)
            else:
                hidden = FlaxUpBlock2D(channels[i], count, common, name=name)(
                    hidden, taken, temb, size
                )
        return hidden

    @nn.nowrap
    def _common(self) -> Common:
        return Common(
            num_groups=self.norm_num_groups,
            epsilon=self.norm_eps,
            use_linear_projection=self.use_linear_projection,
            upcast_attention=self.upcast_attention,
            attention=self.attention,
            dtype=self.dtype,
        )

    @nn.nowrap
    def _for_blocks(self, *fields: str) -> list[tuple[int, ...]]:
        """Each field with one number for every block on the way down."""
        values = [getattr(self, field) for field in fields]
        count = len(self.block_out_channels)
        return [(value,) * count if isinstance(value, int) else value for value in values]

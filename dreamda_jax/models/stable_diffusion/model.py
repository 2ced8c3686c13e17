"""Stable Diffusion 1.x and 2.x: its networks together, and the numbers that go with them.

Numbers equal PyTorch diffusers' on the same weights (float32, embedded model: about 5e-6, see
tests/models). Parameters are arguments everywhere; a `StableDiffusion` holds modules and numbers.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dreamda_jax.errors import UserError
from dreamda_jax.models.clip.config import read_text_config, text_part
from dreamda_jax.models.clip.text_model import FlaxCLIPTextModule
from dreamda_jax.models.flax_modules import (
    apply_module,
    build_module,
    init_shapes,
)
from dreamda_jax.models.stable_diffusion.fused_attention import Attention, for_device
from dreamda_jax.models.stable_diffusion.networks.resnet import FlaxResnetBlock2D
from dreamda_jax.models.stable_diffusion.networks.transformer import FlaxTransformer2DModel
from dreamda_jax.models.stable_diffusion.networks.unet import FlaxUNet2DConditionModel
from dreamda_jax.models.stable_diffusion.networks.unet_blocks import (
    FlaxCrossAttnDownBlock2D,
    FlaxCrossAttnUpBlock2D,
    FlaxDownBlock2D,
    FlaxUNetMidBlock2DCrossAttn,
    FlaxUpBlock2D,
)
from dreamda_jax.models.stable_diffusion.networks.vae import FlaxAutoencoderKL
from dreamda_jax.models.stable_diffusion.scheduler_config import (
    SchedulerSettings,
    scheduler_settings,
)
from dreamda_jax.models.stable_diffusion.supported_configs import (
    check_text_encoder,
    check_unet,
    check_vae,
)
from dreamda_jax.models.tokenizer import check_empty_prompt, encode_prompts
from dreamda_jax.types import AnyArray, Bottleneck, Context, Image, Latent, Params, TokenIds

__all__ = [
    "REMAT_BLOCKS",
    "UNET_BLOCKS",
    "UNET_SCOPE",
    "FlaxCrossAttnDownBlock2D",
    "FlaxCrossAttnUpBlock2D",
    "FlaxDownBlock2D",
    "FlaxUNetMidBlock2DCrossAttn",
    "FlaxUpBlock2D",
    "SchedulerSettings",
    "StableDiffusion",
    "abstract_params",
    "from_configs",
]

UNET_BLOCKS: tuple[type[nn.Module], ...] = (
    FlaxCrossAttnDownBlock2D,
    FlaxDownBlock2D,
    FlaxUNetMidBlock2DCrossAttn,
    FlaxCrossAttnUpBlock2D,
    FlaxUpBlock2D,
)
"""The classes an interceptor may match, together with `context.method_name == "__call__"`."""

UNET_SCOPE = "unet"
"""The `jax.named_scope` of all that a traced program does in the U-Net, gradients included."""

REMAT_BLOCKS: tuple[type[nn.Module], ...] = (FlaxResnetBlock2D, FlaxTransformer2DModel)
"""The U-Net's parts that training rematerialises; see `remat`."""

_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "float16": jnp.float16}
# Stable Diffusion's VAE was not trained in float16, and overflows in it (`force_upcast` of its
# config): above 65504 there is nothing but infinity.
_VAE_DTYPES = {"float16": jnp.float32}


@dataclasses.dataclass(frozen=True, eq=False)
class StableDiffusion:
    """A text-to-image latent diffusion model without its parameters.

    Hashed and compared by identity, so it may be closed over or passed as a static argument.
    `params` is everywhere the dict {"unet", "vae", "text_encoder"} that `load` returns; a method
    reads only its own entry. All methods but `tokenize` and `check_empty_prompt` can be traced.
    """

    unet: FlaxUNet2DConditionModel
    vae: FlaxAutoencoderKL
    text_encoder: FlaxCLIPTextModule
    tokenizer: Any  # CLIPTokenizer; None where the model was made for its shapes only
    scheduler: SchedulerSettings
    dtype: Any  # of parameters and activations, see `dtype_of`: float32, bfloat16 or float16

    def tokenize(self, prompts: Sequence[str]) -> np.ndarray:
        """Encode prompts as diffusers does: padded and cut to the tokenizer's `model_max_length`.

        Returns:
            int32 [b, l], every id inside the text encoder's vocabulary.

        Raises:
            UserError: the tokenizer cannot pad, or yields ids the text encoder does not have.
        """
        return encode_prompts(
            self.tokenizer, prompts, length=self.num_tokens, vocabulary=self.vocabulary
        )

    def check_empty_prompt(self) -> None:
        """Make sure that "" can be encoded, which classifier-free guidance needs.

        Raises:
            UserError: the tokenizer lacks an end or padding token inside the vocabulary.
        """
        check_empty_prompt(self.tokenizer, length=self.num_tokens, vocabulary=self.vocabulary)

    def encode_text(self, params: Params, token_ids: TokenIds) -> Context:
        """Text encoder's last hidden state [b, l, d] of `token_ids` int [b, l], in `dtype`."""
        ids = jnp.asarray(token_ids)
        return apply_module(self.text_encoder, params["text_encoder"], ids).last_hidden_state

    def encode_image(self, params: Params, images: Image) -> Latent:
        """Scaled mean of the VAE's posterior, the first that `encode_posterior` returns."""
        return self.encode_posterior(params, images)[0]

    def encode_posterior(self, params: Params, images: Image) -> tuple[Latent, Latent]:
        """Scaled mean and standard deviation of the VAE's posterior.

        Args:
            params: see the class.
            images: uint8 [b, h, w, 3], sRGB, h and w multiples of `vae_scale_factor`.

        Returns:
            Two arrays float32 [b, 4, h/f, w/f]; the mean has about unit variance.
        """
        pixels = jnp.asarray(images).astype(jnp.float32) / 127.5 - 1.0
        posterior = apply_module(self.vae, params["vae"], pixels, method=self.vae.encode)
        moments = (jnp.transpose(x, (0, 3, 1, 2)) for x in posterior)
        mean, std = (x * self.vae.scaling_factor for x in moments)
        return mean, std

    def decode_latents_float(self, params: Params, latents: Latent) -> jax.Array:
        """Decode latents [b, 4, h/f, w/f] to float32 [b, h, w, 3], about [-1, 1], not clipped."""
        nhwc = jnp.transpose(latents.astype(jnp.float32) / self.vae.scaling_factor, (0, 2, 3, 1))
        return apply_module(self.vae, params["vae"], nhwc, method=self.vae.decode)

    def decode_latents(self, params: Params, latents: Latent) -> Image:
        """Decode latents [b, 4, h/f, w/f] to images uint8 [b, h, w, 3], sRGB."""
        pixels = self.decode_latents_float(params, latents)
        return jnp.round(jnp.clip((pixels + 1.0) * 127.5, 0.0, 255.0)).astype(jnp.uint8)

    def denoise(
        self,
        params: Params,
        latents: Latent,
        timestep: AnyArray | int,
        context: Context,
        *,
        mid_block_additional_residual: Bottleneck | None = None,
    ) -> Latent:
        """Raw output of the U-Net, ε or v by `scheduler.prediction_type`.

        Equal to PyTorch diffusers'. Its gradient, like the output, has the same bits on any number
        of devices.

        Args:
            params: see the class.
            latents: [b, 4, h, w].
            timestep: a scalar or int [b], 0 .. num_train_timesteps - 1.
            context: [b, l, d], what `encode_text` returns.
            mid_block_additional_residual: added to the mid block's output, [b, h', w', d'].

        Returns:
            float32, the shape of `latents`.
        """
        # One time embedding per row, so that an interceptor may treat `temb` like every other
        # input that has rows. Never in bfloat16, which cannot hold the integers above 256.
        timesteps = jnp.broadcast_to(jnp.asarray(timestep, jnp.float32), latents.shape[:1])
        with jax.named_scope(UNET_SCOPE):
            output = apply_module(
                self.unet,
                params["unet"],
                latents.astype(self.dtype),
                timesteps,
                context.astype(self.dtype),
                mid_block_additional_residual=mid_block_additional_residual,
            )
        return output.astype(jnp.float32)

    def with_vocabulary(self, vocabulary: int, tokenizer: Any) -> "StableDiffusion":
        """The same networks with a text encoder for so many token ids, and another tokenizer."""
        config = dataclasses.replace(self.text_encoder.config, vocab_size=vocabulary)
        encoder = FlaxCLIPTextModule(config, self.text_encoder.dtype)
        return dataclasses.replace(self, text_encoder=encoder, tokenizer=tokenizer)

    def with_attention_for(self, device: jax.Device) -> "StableDiffusion":
        """The same networks with the form of attention that suits a device."""
        return self.with_attention(for_device(device, self.dtype))

    def with_attention(self, form: Attention) -> "StableDiffusion":
        """The same networks with this form of attention among many tokens."""
        return dataclasses.replace(self, unet=self.unet.clone(attention=form))

    def dtype_of(self, name: str) -> Any:
        """Of a network's parameters and activations: "unet", "vae" or "text_encoder".

        The VAE's is float32 where the model's is float16: Stable Diffusion's VAE overflows in it.
        """
        return getattr(self, name).dtype

    def latent_shape(self, resolution: int) -> tuple[int, int, int]:
        """Shape (channels, h, w) of one image's latents at `resolution`².

        Raises:
            UserError: the U-Net cannot halve latents of this size as often as it has to.
        """
        multiple = self.vae_scale_factor * 2 ** (self.num_down_blocks - 1)
        if resolution <= 0 or resolution % multiple:
            raise UserError(f"resolution={resolution}: must be a multiple of {multiple}.")
        cells = resolution // self.vae_scale_factor
        return (self.unet.in_channels, cells, cells)

    @property
    def attention(self) -> Attention:
        """How the U-Net's many tokens attend to each other."""
        return self.unet.attention

    @property
    def vae_scale_factor(self) -> int:
        """Pixels per latent cell along one axis: 8 for Stable Diffusion."""
        return 2 ** (len(self.vae.block_out_channels) - 1)

    @property
    def num_tokens(self) -> int:
        """Length l of every prompt after padding."""
        longest = self.text_encoder.config.max_position_embeddings
        return min(longest, getattr(self.tokenizer, "model_max_length", longest))

    @property
    def vocabulary(self) -> int:
        """How many token ids the text encoder knows."""
        return self.text_encoder.config.vocab_size

    @property
    def encoder_modules(self) -> tuple[str, ...]:
        """Names of the U-Net's modules up to its bottleneck whose outputs go on to the decoder."""
        blocks = (f"down_blocks_{i}" for i in range(self.num_down_blocks))
        return ("conv_in", *blocks, "mid_block")

    @property
    def num_down_blocks(self) -> int:
        """Encoder blocks of the U-Net."""
        return len(self.unet.down_block_types)

    @property
    def num_up_blocks(self) -> int:
        """Decoder blocks of the U-Net."""
        return len(self.unet.up_block_types)


def from_configs(
    *,
    unet_config: Mapping[str, Any],
    vae_config: Mapping[str, Any],
    text_config: Mapping[str, Any],
    scheduler_config: Mapping[str, Any],
    tokenizer: Any = None,
    dtype: str = "float32",
) -> StableDiffusion:
    """Build a model from the contents of its config files (see `known_configs`), no weights.

    Raises:
        UserError: a setting that is not supported, by field and value.
    """
    if dtype not in _DTYPES:
        raise UserError(f"dtype={dtype!r}: must be one of {', '.join(_DTYPES)}.")
    check_vae(vae_config)
    check_text_encoder(text_config)
    text = read_text_config(text_config, where="text_encoder/config.json")
    vae_dtype = _VAE_DTYPES.get(dtype, _DTYPES[dtype])
    check_unet(unet_config, vae_config=vae_config, text_config=text_part(text_config))
    return StableDiffusion(
        unet=build_module(FlaxUNet2DConditionModel, unet_config, dtype=_DTYPES[dtype]),
        vae=build_module(FlaxAutoencoderKL, vae_config, dtype=vae_dtype),
        text_encoder=FlaxCLIPTextModule(text, dtype=_DTYPES[dtype]),
        tokenizer=tokenizer,
        scheduler=scheduler_settings(scheduler_config),
        dtype=_DTYPES[dtype],
    )


@functools.lru_cache(maxsize=4)  # tracing SD's initialisers takes seconds
def abstract_params(model: StableDiffusion) -> dict[str, Params]:
    """Shapes of the parameters, `jax.ShapeDtypeStruct` of the model's dtype; no memory is used.

    Returns:
        {"unet": ..., "vae": ..., "text_encoder": ...}, nested as `load` returns the arrays.
    """
    side = 2 ** max(model.num_down_blocks, len(model.vae.block_out_channels))
    tokens = jnp.zeros((1, 1), jnp.int32)
    width = model.text_encoder.config.hidden_size
    return {
        "unet": init_shapes(
            model.unet,
            jnp.zeros((1, model.unet.in_channels, side, side)),
            jnp.zeros((1,), jnp.int32),
            jnp.zeros((1, 2, width)),
            dtype=model.dtype,
        ),
        "vae": init_shapes(model.vae, jnp.zeros((1, side, side, 3)), dtype=model.vae.dtype),
        "text_encoder": init_shapes(model.text_encoder, tokens, dtype=model.dtype),
    }

"""Which settings of a checkpoint the networks honour, and which they would ignore.

A network is built from the fields of a config that it knows. Every other field of PyTorch diffusers
is listed here with the values under which it makes no difference; anything else is refused by name,
since the network would compute something else than the checkpoint was trained for.
"""

from collections.abc import Mapping
from typing import Any

from dreamda_jax.errors import UserError

Config = Mapping[str, Any]


# field: the values that are right, the default of PyTorch diffusers first.
_UNET: dict[str, tuple[Any, ...]] = {
    "act_fn": ("silu", "swish"),
    "addition_embed_type": (None, "text_time"),
    "attention_type": ("default",),
    "center_input_sample": (False,),
    "class_embed_type": (None,),
    "class_embeddings_concat": (False,),
    "conv_in_kernel": (3,),
    "conv_out_kernel": (3,),
    "cross_attention_norm": (None,),
    "downsample_padding": (1,),
    "dual_cross_attention": (False,),
    "encoder_hid_dim": (None,),
    "encoder_hid_dim_type": (None,),
    "mid_block_only_cross_attention": (None, False),
    "mid_block_scale_factor": (1,),
    "mid_block_type": ("UNetMidBlock2DCrossAttn",),
    "num_attention_heads": (None,),
    "num_class_embeds": (None,),
    "only_cross_attention": (False,),
    "resnet_out_scale_factor": (1.0,),
    "resnet_skip_time_act": (False,),
    "resnet_time_scale_shift": ("default",),
    "reverse_transformer_layers_per_block": (None,),
    "time_embedding_act_fn": (None,),
    "time_embedding_dim": (None,),
    "time_embedding_type": ("positional",),
    "timestep_post_act": (None,),
}
# What the U-Net honours, and sampling does not yet.
_UNET_SAMPLED: dict[str, tuple[Any, ...]] = {
    "addition_embed_type": (None,),
    "time_cond_proj_dim": (None,),
}
_VAE: dict[str, tuple[Any, ...]] = {
    "act_fn": ("silu", "swish"),
    "in_channels": (3,),
    "out_channels": (3,),
    "latents_mean": (None,),
    "latents_std": (None,),
    "shift_factor": (None, 0),
}
_TEXT: dict[str, tuple[Any, ...]] = {"model_type": ("clip_text_model", "clip")}
_BLOCKS = {
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
}
_PER_BLOCK = ("attention_head_dim", "layers_per_block", "transformer_layers_per_block")
_CHANNELS = (320, 640, 1280, 1280)
_VAE_BLOCKS = {"down_block_types": "DownEncoderBlock2D", "up_block_types": "UpDecoderBlock2D"}


def check_unet_module(config: Config) -> None:
    """Refuse a U-Net that `FlaxUNet2DConditionModel` would compute wrongly, or not at all.

    Raises:
        UserError: naming the field and its value.
    """
    _check("unet", config, _UNET)
    for field, known in _BLOCKS.items():
        for block in config.get(field, ()):
            if block not in known:
                raise _refusal("unet", field, block, known)
    if not isinstance(config.get("cross_attention_dim", 2), int):
        field = "cross_attention_dim"
        raise _refusal("unet", field, config[field], ("one integer",))
    channels = config.get("block_out_channels", _CHANNELS)
    for field in _PER_BLOCK:
        value = config.get(field, 1)
        numbers = value if isinstance(value, (list, tuple)) else (value,) * len(channels)
        if len(numbers) != len(channels) or not all(isinstance(n, int) and n > 0 for n in numbers):
            each = f"one for each of the {len(channels)} blocks"
            raise _refusal("unet", field, value, ("a positive integer", each))
    for field in _BLOCKS:
        if len(config.get(field, channels)) != len(channels):
            raise _refusal("unet", field, config[field], (f"{len(channels)} blocks",))
    groups = config.get("norm_num_groups", 32)
    if not isinstance(groups, int) or groups < 1 or any(n % groups for n in channels):
        divisor = f"a divisor of each of block_out_channels={tuple(channels)}"
        raise _refusal("unet", "norm_num_groups", groups, (divisor,))
    if config.get("addition_embed_type") == "text_time":
        for field in ("addition_time_embed_dim", "projection_class_embeddings_input_dim"):
            if not isinstance(config.get(field), int):
                integer = 'an integer, with addition_embed_type="text_time"'
                raise _refusal("unet", field, config.get(field), (integer,))


def check_unet(config: Config, *, vae_config: Config, text_config: Config) -> None:
    """Refuse a U-Net that cannot be sampled from here.

    Raises:
        UserError: naming the field and its value; also if the U-Net does not fit the VAE's latents
            (inpainting and super-resolution models) or the text encoder's width.
    """
    _check("unet", config, _UNET_SAMPLED)
    check_unet_module(config)
    latent_channels = vae_config.get("latent_channels", 4)
    for field in ("in_channels", "out_channels"):
        channels = config.get(field, 4)
        if channels != latent_channels:
            raise UserError(
                f"unet/config.json: {field}={channels} differs from the VAE's latent_channels="
                f"{latent_channels}. Inpainting, super-resolution and other conditioned models are "
                "not supported; use the plain text-to-image checkpoint."
            )
    width = text_config.get("hidden_size", 512)
    if config.get("cross_attention_dim", 1280) != width:
        raise UserError(
            f"unet/config.json: cross_attention_dim={config.get('cross_attention_dim', 1280)} does "
            f"not fit the text encoder's hidden_size={width}. They are not of the same model."
        )


def check_vae(config: Config) -> None:
    """Refuse a VAE that is not computed here.

    Raises:
        UserError: naming the field and its value; also if its fields do not fit each other.
    """
    _check("vae", config, _VAE)
    widths = config.get("block_out_channels", (64,))
    for field, known in _VAE_BLOCKS.items():
        blocks = config.get(field, (known,))
        for block in blocks:
            if block != known:
                raise _refusal("vae", field, block, (known,))
        if len(blocks) != len(widths):
            raise UserError(
                f"vae/config.json: {field} has {len(blocks)} entries, but block_out_channels "
                f"{len(widths)}: there must be one for each."
            )
    groups = config.get("norm_num_groups", 32)
    for width in widths:
        if width % groups:
            raise UserError(
                f"vae/config.json: norm_num_groups={groups} does not divide the {width} of "
                "block_out_channels."
            )


def check_text_encoder(config: Config) -> None:
    """Refuse a text encoder that is not CLIP's (UserError, by field); see `clip.config` too."""
    _check("text_encoder", config, _TEXT)


def _check(component: str, config: Config, allowed: Mapping[str, tuple[Any, ...]]) -> None:
    for field, values in allowed.items():
        if config.get(field, values[0]) not in values:
            raise _refusal(component, field, config[field], values)


def _refusal(component: str, field: str, value: Any, values: tuple[Any, ...]) -> UserError:
    known = " or ".join(str(known) for known in values)
    return UserError(
        f"{component}/config.json: {field}={value!r} is not supported (supported: {known}). "
        "Stable Diffusion 1.x and 2.x text-to-image checkpoints are."
    )

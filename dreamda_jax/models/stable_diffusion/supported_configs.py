"""Which settings of a checkpoint diffusers' Flax classes honour, and which they would ignore.

diffusers' Flax classes silently drop fields they do not know, and would then compute something
else than the checkpoint was trained for. Every such field is listed here with the values under
which Flax and PyTorch agree; anything else is refused by name.
"""

from collections.abc import Mapping
from typing import Any

from dreamda_jax.errors import UserError

Config = Mapping[str, Any]


# field: the values that are right, the default of PyTorch diffusers first.
_UNET: dict[str, tuple[Any, ...]] = {
    "act_fn": ("silu", "swish"),
    "addition_embed_type": (None,),
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
    "norm_eps": (1e-5,),
    "norm_num_groups": (32,),
    "num_attention_heads": (None,),
    "num_class_embeds": (None,),
    "only_cross_attention": (False,),
    "projection_class_embeddings_input_dim": (None,),
    "resnet_out_scale_factor": (1.0,),
    "resnet_skip_time_act": (False,),
    "resnet_time_scale_shift": ("default",),
    "reverse_transformer_layers_per_block": (None,),
    "time_cond_proj_dim": (None,),
    "time_embedding_act_fn": (None,),
    "time_embedding_dim": (None,),
    "time_embedding_type": ("positional",),
    "timestep_post_act": (None,),
}
_VAE: dict[str, tuple[Any, ...]] = {
    "act_fn": ("silu", "swish"),
    "in_channels": (3,),
    "out_channels": (3,),
    "latents_mean": (None,),
    "latents_std": (None,),
    "mid_block_add_attention": (True,),
    "shift_factor": (None, 0),
    "use_post_quant_conv": (True,),
    "use_quant_conv": (True,),
}
_TEXT: dict[str, tuple[Any, ...]] = {
    "model_type": ("clip_text_model",),
    "hidden_act": ("quick_gelu", "gelu"),
}
_BLOCKS = {
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
}
_VAE_BLOCKS = {"down_block_types": "DownEncoderBlock2D", "up_block_types": "UpDecoderBlock2D"}


def check_unet(config: Config, *, vae_config: Config, text_config: Config) -> None:
    """Refuse a U-Net that diffusers' Flax class would compute wrongly.

    Raises:
        UserError: naming the field and its value; also if the U-Net does not fit the VAE's latents
            (inpainting and super-resolution models) or the text encoder's width.
    """
    _check("unet", config, _UNET)
    for field, known in _BLOCKS.items():
        for block in config.get(field, ()):
            if block not in known:
                raise _refusal("unet", field, block, known)
    for field in ("cross_attention_dim", "layers_per_block"):
        if not isinstance(config.get(field, 2), int):
            raise _refusal("unet", field, config[field], ("one integer",))
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
    """Refuse a VAE that diffusers' Flax class would compute wrongly (UserError, by field)."""
    _check("vae", config, _VAE)
    for field, known in _VAE_BLOCKS.items():
        for block in config.get(field, ()):
            if block != known:
                raise _refusal("vae", field, block, (known,))


def check_text_encoder(config: Config) -> None:
    """Refuse a text encoder that is not CLIP's (UserError, by field)."""
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

"""CLIP's settings, as transformers' config.json spells them.

Fields that are absent take the defaults of transformers' `CLIPTextConfig` and `CLIPVisionConfig`
(transformers/models/clip/configuration_clip.py); what the networks here do not need (dropout,
initialisers, token ids other than the end's) is not read. A value that they would compute wrongly
is refused by name.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from dreamda_jax.errors import UserError

ACTIVATIONS = ("quick_gelu", "gelu")
"""The values of `hidden_act`; "gelu" is the exact one."""

_Config = TypeVar("_Config", "ClipTextConfig", "ClipVisionConfig")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """Of the transformer in either encoder.

    Attributes:
        hidden_size: width d of a token, a multiple of `num_attention_heads`.
        intermediate_size: width between the two layers of an MLP.
        num_hidden_layers: blocks.
        num_attention_heads: heads of every attention.
        hidden_act: one of `ACTIVATIONS`.
        layer_norm_eps: added to the variance by every norm.
    """

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int = 12
    num_attention_heads: int
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipTextConfig(TransformerConfig):
    """Of the text encoder.

    Attributes:
        vocab_size: token ids it knows.
        max_position_embeddings: tokens of its longest text.
        projection_dim: width of a text's embedding, where the checkpoint has the projection.
        eos_token_id: of the token whose feature stands for the whole text. 2 in old files, whose
            texts end with the highest id that they hold.
    """

    hidden_size: int = 512
    intermediate_size: int = 2048
    num_attention_heads: int = 8
    vocab_size: int = 49408
    max_position_embeddings: int = 77
    projection_dim: int = 512
    eos_token_id: int = 49407


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipVisionConfig(TransformerConfig):
    """Of the image encoder.

    Attributes:
        image_size: side of an image in pixels; only squares fit.
        patch_size: side of a patch; what is left over at the right and the bottom is not seen.
        num_channels: 3, images are RGB.
    """

    hidden_size: int = 768
    intermediate_size: int = 3072
    num_attention_heads: int = 12
    image_size: int = 224
    patch_size: int = 32
    num_channels: int = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipConfig:
    """Of a CLIP with both encoders.

    Attributes:
        text_config: see the class.
        vision_config: see the class.
        projection_dim: width of the space that both are projected to.
    """

    text_config: ClipTextConfig
    vision_config: ClipVisionConfig
    projection_dim: int = 512


def read_clip_config(raw: Mapping[str, Any], *, where: str) -> ClipConfig:
    """Read the config of a whole CLIP.

    `text_config_dict`, which old files hold beside `text_config`, wins where it is there: so does
    transformers.

    Args:
        raw: the content of config.json.
        where: the file, for messages.

    Raises:
        UserError: a value that is not supported or of the wrong kind, by field.
    """
    parts = {}
    for name in ("text_config", "vision_config"):
        old = f"{name}_dict"
        part = raw.get(old) if raw.get(old) is not None else raw.get(name)
        if not isinstance(part, Mapping | None):
            raise UserError(f"{where}: not the config of a CLIP ({name} is no object).")
        parts[name] = part or {}
    projection = raw.get("projection_dim", 512)
    _check_whole(projection, f"{where}: projection_dim")
    return ClipConfig(
        text_config=read_text_config(parts["text_config"], where=where, prefix="text_config."),
        vision_config=_read(
            ClipVisionConfig, parts["vision_config"], where=where, prefix="vision_config."
        ),
        projection_dim=projection,
    )


def read_text_config(raw: Mapping[str, Any], *, where: str, prefix: str = "") -> ClipTextConfig:
    """Read the config of a text encoder.

    Args:
        raw: the content of config.json, or its part; that of a whole CLIP, as a checkpoint's
            text_encoder may hold, gives its `text_config`.
        where: the file, for messages.
        prefix: what stands before a field's name in messages.

    Raises:
        UserError: a value that is not supported or of the wrong kind, by field.
    """
    return _read(ClipTextConfig, text_part(raw), where=where, prefix=prefix)


def text_part(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of a config.json, what describes the text encoder: all of it, or its `text_config`."""
    part = raw.get("text_config")
    return part if isinstance(part, Mapping) else raw


def with_vocabulary(raw: Mapping[str, Any], vocabulary: int) -> dict[str, Any]:
    """The content of a text encoder's config.json, for so many token ids."""
    if text_part(raw) is raw:
        return {**raw, "vocab_size": vocabulary}
    return {**raw, "text_config": {**text_part(raw), "vocab_size": vocabulary}}


def _read(cls: type[_Config], raw: Mapping[str, Any], *, where: str, prefix: str) -> _Config:
    fields = {field.name: field for field in dataclasses.fields(cls)}
    config = cls(**{name: raw[name] for name in fields if name in raw})
    for name in fields:
        value, what = getattr(config, name), f"{where}: {prefix}{name}"
        if name == "hidden_act":
            if value not in ACTIVATIONS:
                raise _refusal(what, value, " or ".join(ACTIVATIONS))
        elif name == "layer_norm_eps":
            if not isinstance(value, float) or value <= 0:
                raise _refusal(what, value, "a number above 0, as transformers writes 1e-05")
        elif name == "num_channels":
            if value != 3:
                raise _refusal(what, value, "3: images are RGB")
        else:
            _check_whole(value, what)
    if config.hidden_size % config.num_attention_heads:
        raise UserError(
            f"{where}: no CLIP can be built from it: {prefix}hidden_size={config.hidden_size} is "
            f"no multiple of num_attention_heads={config.num_attention_heads}."
        )
    return config


def _check_whole(value: Any, what: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise _refusal(what, value, "a whole number above 0")


def _refusal(what: str, value: Any, supported: str) -> UserError:
    return UserError(f"{what}={value!r} is not supported (supported: {supported}).")

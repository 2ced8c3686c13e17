"""Swin Transformer V2 (Liu et al., arXiv 2111.09883), with the numbers of torchvision and timm.

On the same weights it equals torchvision's `swin_v2_t` (torchvision/models/swin_transformer.py),
and at 256×256 timm's `swinv2_tiny_window8_256` (timm/models/swin_transformer_v2.py); at other sizes
timm shrinks the window where a feature map is smaller, torchvision pads the map. It starts from
torchvision's initialisation. Torchvision's state dict holds these parameters under other names
(`torchvision_name`) and two buffers per block that are constants here, `attn.relative_coords_table`
and `attn.relative_position_index`. `from_timm` brings timm's state dict to torchvision's names.
"""

import functools
import re
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dreamda_jax.errors import UserError
from dreamda_jax.models.classifiers.torch_layers import uniform_fan_in
from dreamda_jax.models.classifiers.window_attention import LINEAR_INIT, WindowAttention
from dreamda_jax.models.weights.torch_layout import renamed
from dreamda_jax.types import AnyArray

# The fast variance, E[x²] - E[x]², loses digits where the mean is large.
_LayerNorm = functools.partial(nn.LayerNorm, epsilon=1e-5, use_fast_variance=False)
_Dense = functools.partial(nn.Dense, kernel_init=LINEAR_INIT)

_PATCH = 4
_PATCH_INIT = uniform_fan_in(3 * _PATCH**2)

_MODULES = {"patch_embed": "features.0.0", "patch_norm": "features.0.2", "attention": "attn"}
_LEAVES = {"kernel": "weight", "scale": "weight"}
_TIMM_BUFFER = re.compile(r"\.(relative_coords_table|relative_position_index|attn_mask|k_bias)$")
_TIMM_NAMES = (
    (re.compile(r"^patch_embed\.proj\."), "features.0.0."),
    (re.compile(r"^patch_embed\.norm\."), "features.0.2."),
    (re.compile(r"\.mlp\.fc1\."), ".mlp.0."),
    (re.compile(r"\.mlp\.fc2\."), ".mlp.3."),
    (re.compile(r"^head\.fc\."), "head."),
)

TIMM_AT_OTHER_SIZES = (
    "these are timm's weights of Swin V2, at another size than 256 pixels: where a feature map is "
    "smaller than a window timm shrinks the window and torchvision pads the map. As torchvision "
    "does here, so that logits are not timm's; at classifier.image_size=256 they are"
)
"""What a person should hear of such weights."""


class SwinTransformerV2(nn.Module):
    """The classifier: images to logits.

    Attributes:
      embed_dim: channels of the first stage; each further stage has twice as many.
      depths: blocks per stage. Every second block of a stage has shifted windows.
      num_heads: attention heads per stage.
      window_size: side of an attention window, in tokens.
      mlp_ratio: hidden channels of a block's MLP, per channel.
      stochastic_depth_rate: probability that the last block's residual branches are dropped; it
        grows linearly from 0 at the first block.
      num_classes: classes of the head.
      dtype: computation dtype, float32 or bfloat16. Parameters are float32; so are the statistics
        of norms, softmax, logit scale, position bias, pooling and head.
    """

    embed_dim: int
    depths: tuple[int, ...]
    num_heads: tuple[int, ...]
    window_size: int
    mlp_ratio: float
    stochastic_depth_rate: float
    num_classes: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        images: Float[AnyArray, "b h w 3"],
        *,
        train: bool = False,
        return_features: bool = False,
    ) -> Any:
        """Classifies normalised images.

        Args:
          images: float, normalised with the checkpoint's mean and standard deviation. Any h and w
            that are multiples of 4 · 2^(stages - 1), 32 for the usual four stages.
          train: drop residual branches at random, with the "dropout" rng.
          return_features: return (logits, features).

        Returns:
          Logits, float32 [b, num_classes]. Features, float32 [b, d]: the last stage's normalised
          feature map averaged over its positions, d = embed_dim · 2^(stages - 1).

        Raises:
          ValueError: `images` has another shape.
        """
        stride = _PATCH * 2 ** (len(self.depths) - 1)
        if images.ndim != 4 or images.shape[3] != 3 or any(n % stride for n in images.shape[1:3]):
            raise ValueError(
                f"images must be [b, h, w, 3] with h and w multiples of {stride}; their shape is "
                f"{images.shape}"
            )
        x = nn.Conv(
            self.embed_dim,
            (_PATCH, _PATCH),
            strides=_PATCH,
            padding="VALID",
            dtype=self.dtype,
            kernel_init=_PATCH_INIT,
            bias_init=_PATCH_INIT,
            name="patch_embed",
        )(jnp.asarray(images))
        x = _LayerNorm(dtype=self.dtype, name="patch_norm")(x)

        drop_rates = np.linspace(0, self.stochastic_depth_rate, sum(self.depths)).tolist()
        for i, (depth, num_heads) in enumerate(zip(self.depths, self.num_heads, strict=True)):
            if i > 0:
                x = PatchMerging(self.dtype, name=f"merge_{i - 1}")(x)
            first = sum(self.depths[:i])
            x = Stage(
                num_heads=num_heads,
                window_size=self.window_size,
                mlp_ratio=self.mlp_ratio,
                drop_rates=tuple(drop_rates[first : first + depth]),
                dtype=self.dtype,
                name=f"stage_{i}",
            )(x, train)
        features = _LayerNorm(dtype=jnp.float32, name="norm")(x).mean((1, 2))
        logits = _Dense(self.num_classes, precision="highest", name="head")(features)
        return (logits, features) if return_features else logits


class Stage(nn.Module):
    """The blocks at one resolution; the windows of every second one are shifted by half."""

    num_heads: int
    window_size: int
    mlp_ratio: float
    drop_rates: tuple[float, ...]
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b h w d"], train: bool) -> Float[Array, "b h w d"]:
        """Applies the blocks in turn; `drop_rates` holds one rate per block."""
        for i, drop_rate in enumerate(self.drop_rates):
            x = Block(
                num_heads=self.num_heads,
                window_size=self.window_size,
                shift_size=self.window_size // 2 if i % 2 else 0,
                mlp_ratio=self.mlp_ratio,
                drop_rate=drop_rate,
                dtype=self.dtype,
                name=f"block_{i}",
            )(x, train)
        return x


class Block(nn.Module):
    """Attention and MLP, each normalised *after* it and before it is added (§3.2)."""

    num_heads: int
    window_size: int
    shift_size: int
    mlp_ratio: float
    drop_rate: float
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b h w d"], train: bool) -> Float[Array, "b h w d"]:
        """Adds both residual branches; each is dropped for a whole image or kept for it."""
        attention = WindowAttention(
            self.num_heads, self.window_size, self.shift_size, self.dtype, name="attention"
        )
        mlp = MLP(int(x.shape[-1] * self.mlp_ratio), self.dtype, name="mlp")
        for i, branch in enumerate((attention, mlp), start=1):
            residual = _LayerNorm(dtype=self.dtype, name=f"norm{i}")(branch(x))
            # One draw per row, survivors divided by 1 - rate: stochastic depth.
            drop = nn.Dropout(self.drop_rate, broadcast_dims=(1, 2, 3), name=f"drop{i}")
            x = x + drop(residual, deterministic=not train)
        return x


class MLP(nn.Module):
    """Two linear layers with the exact GELU between them."""

    hidden_dim: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
        """Maps each position by itself."""
        hidden = _Dense(self.hidden_dim, dtype=self.dtype, name="dense_0")(x)
        hidden = nn.gelu(hidden, approximate=False)
        return _Dense(x.shape[-1], dtype=self.dtype, name="dense_3")(hidden)


class PatchMerging(nn.Module):
    """Halves height and width and doubles the channels; V2 normalises after the reduction."""

    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b h w d"]) -> Float[Array, "b h/2 w/2 2*d"]:
        """Joins each 2×2 square column by column: upper left, lower left, upper right, …."""
        batch, height, width, dim = x.shape
        x = x.reshape(batch, height // 2, 2, width // 2, 2, dim).transpose(0, 1, 3, 4, 2, 5)
        x = x.reshape(batch, height // 2, width // 2, 4 * dim)
        x = _Dense(2 * dim, use_bias=False, dtype=self.dtype, name="reduction")(x)
        return _LayerNorm(dtype=self.dtype, name="norm")(x)


def swin_v2_t(
    num_classes: int, dtype: Any = jnp.float32, stochastic_depth_rate: float = 0.2
) -> SwinTransformerV2:
    """Swin V2 tiny with windows of 8: 27.6 M parameters without the head, 768 features."""
    return SwinTransformerV2(
        embed_dim=96,
        depths=(2, 2, 6, 2),
        num_heads=(3, 6, 12, 24),
        window_size=8,
        mlp_ratio=4.0,
        stochastic_depth_rate=stochastic_depth_rate,
        num_classes=num_classes,
        dtype=dtype,
    )


def torchvision_name(path: tuple[str, ...]) -> str:
    """The name in torchvision's state dict of the parameter at `path`.

    For example ("stage_0", "block_1", "attention", "qkv", "kernel") is
    "features.1.1.attn.qkv.weight". Only the names differ, and the layout of kernels: linear [o, i]
    there and [i, o] here, convolution [o, i, h, w] there and [h, w, i, o] here.
    """
    *modules, leaf = path
    return ".".join([*map(_torchvision_module, modules), _LEAVES.get(leaf, leaf)])


def _torchvision_module(name: str) -> str:
    kind, _, index = name.partition("_")
    if kind == "stage":
        return f"features.{2 * int(index) + 1}"
    if kind == "merge":
        return f"features.{2 * int(index) + 2}"
    return index if kind in ("block", "dense") else _MODULES.get(name, name)


def from_timm(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Turns a state dict of timm's Swin V2 into torchvision's, apart from buffers.

    Timm keeps the biases of queries and values apart and none for the keys; torchvision has one of
    all three, where the keys' part is zero. Everything else is a matter of names. The original
    release (microsoft/Swin-Transformer) is understood too: it counts a patch merging with the stage
    before it, timm with the stage after it. A name that neither has is passed on as it is.

    Args:
      tensors: timm's names and arrays, in PyTorch's layout.

    Returns:
      Torchvision's names and arrays, in PyTorch's layout. Only `attn.qkv.bias` is a new array.

    Raises:
      UserError: a block has a bias for queries and none for values, or the other way round, or
        that of all three as well; or two tensors would have one name.
    """
    is_original = "layers.0.downsample.reduction.weight" in tensors
    whole = {}
    for name, tensor in tensors.items():
        if _TIMM_BUFFER.search(name):
            continue
        if name.endswith(".attn.v_bias"):
            if name.replace(".v_bias", ".q_bias") not in tensors:
                raise UserError(f"timm weights: {name} is there, its q_bias is missing.")
            continue
        if name.endswith(".attn.q_bias"):
            block = name.removesuffix("q_bias")
            if f"{block}v_bias" not in tensors:
                raise UserError(f"timm weights: {name} is there, {block}v_bias is missing.")
            tensor = np.concatenate([tensor, np.zeros_like(tensor), tensors[f"{block}v_bias"]])
            name = f"{block}qkv.bias"
            if name in tensors:
                raise UserError(f"timm weights: {name} is there, and {block}q_bias as well.")
        whole[name] = tensor
    return renamed(whole, lambda name: _from_timm_name(name, is_original))


def _from_timm_name(name: str, is_original: bool) -> str:
    for pattern, replacement in _TIMM_NAMES:
        name = pattern.sub(replacement, name)
    stage = re.match(r"layers\.(\d+)\.(blocks|downsample)\.", name)
    if stage is None:
        return name
    is_block = stage[2] == "blocks"
    position = 2 * int(stage[1]) + (1 if is_block else 2 * is_original)
    return f"features.{position}.{name[stage.end() :]}"

"""MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381) as torchvision builds it.

torchvision/models/mobilenetv2.py; timm's `mobilenetv2_100` is the same function under other names.
Submodules are named so that torchvision's names follow by rule, `features_1` for `features.1`.
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from dreamda_jax.models.classifiers.torch_layers import batch_norm, convolution
from dreamda_jax.models.weights.torch_layout import renamed

# Expansion, channels, blocks, stride of the first block: Table 2 of the paper.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_STEM_WIDTH = 32
_HEAD_WIDTH = 1280


class ConvNormActivation(nn.Module):
    """Convolution, BatchNorm, ReLU6."""

    features: int
    size: int
    stride: int = 1
    groups: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Map [b, h, w, c] to [b, h / stride, w / stride, features]."""
        x = convolution(
            self.features,
            self.size,
            stride=self.stride,
            groups=self.groups,
            dtype=self.dtype,
            name="0",
        )(x)
        return nn.relu6(batch_norm(train=train, dtype=self.dtype, name="1")(x))


class InvertedResidual(nn.Module):
    """Widen (unless `expansion` is 1), 3x3 depthwise, narrow; added to the input if it fits."""

    features: int
    stride: int
    expansion: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Map [b, h, w, c] to [b, h / stride, w / stride, features]."""
        layer = partial(ConvNormActivation, dtype=self.dtype)
        width = x.shape[-1] * self.expansion
        first = 0 if self.expansion == 1 else 1
        y = x
        if self.expansion != 1:
            y = layer(width, 1, name="conv_0")(y, train=train)
        y = layer(width, 3, self.stride, width, name=f"conv_{first}")(y, train=train)
        y = convolution(self.features, 1, dtype=self.dtype, name=f"conv_{first + 1}")(y)
        y = batch_norm(train=train, dtype=self.dtype, name=f"conv_{first + 2}")(y)
        return x + y if self.stride == 1 and x.shape[-1] == self.features else y


class MobileNetV2(nn.Module):
    """Width 1.0, global average pooling, dropout before the linear head.

    `dropout` is its rate. `dtype` is that of the computation; parameters and statistics are
    float32.
    """

    num_classes: int
    dropout: float = 0.2
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, images: jax.Array, *, train: bool = False, return_features: bool = False
    ) -> Any:
        """Classify.

        Args:
            images: float [b, h, w, 3], normalised.
            train: normalise by the batch's statistics and update the running ones (`mutable=
                ["batch_stats"]`); drop out (`rngs={"dropout": key}`).
            return_features: return the head's input, before dropout, too.

        Returns:
            Logits, float32 [b, num_classes]; with `return_features` (logits, features), where
            features are float32 [b, 1280], averaged over height and width.
        """
        layer = partial(ConvNormActivation, dtype=self.dtype)
        x = layer(_STEM_WIDTH, 3, 2, name="features_0")(images.astype(self.dtype), train=train)
        place = 1
        for expansion, width, blocks, first_stride in _STAGES:
            for stride in (first_stride, *[1] * (blocks - 1)):
                x = InvertedResidual(
                    width, stride, expansion, dtype=self.dtype, name=f"features_{place}"
                )(x, train=train)
                place += 1
        x = layer(_HEAD_WIDTH, 1, name=f"features_{place}")(x, train=train)
        features = jnp.mean(x.astype(jnp.float32), axis=(1, 2))
        dropped = nn.Dropout(self.dropout, deterministic=not train)(features)
        head = nn.Dense(
            self.num_classes, kernel_init=nn.initializers.normal(0.01), name="classifier_1"
        )
        logits = head(dropped)
        return (logits, features) if return_features else logits


_LAST = 1 + sum(stage[2] for stage in _STAGES)
_TIMM_TOP = {
    "conv_stem": "features.0.0",
    "bn1": "features.0.1",
    "conv_head": f"features.{_LAST}.0",
    "bn2": f"features.{_LAST}.1",
    "classifier": "classifier.1",
}
_TIMM_FIRST_BLOCK = {"conv_dw": "0.0", "bn1": "0.1", "conv_pw": "1", "bn2": "2"}
_TIMM_BLOCK = {
    "conv_pw": "0.0",
    "bn1": "0.1",
    "conv_dw": "1.0",
    "bn2": "1.1",
    "conv_pwl": "2",
    "bn3": "3",
}
_TIMM_NAME = re.compile(r"blocks\.(\d+)\.(\d+)\.(\w+)")


def from_timm(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rename the state dict of timm's `mobilenetv2_100` to torchvision's; other names stay.

    For example `blocks.1.0.conv_dw.weight` to `features.2.conv.1.0.weight`.

    Raises:
      UserError: two tensors would have one name.
    """
    return renamed(tensors, _from_timm_name)


def _from_timm_name(name: str) -> str:
    module, _, leaf = name.rpartition(".")
    found = _TIMM_NAME.fullmatch(module)
    if found is None:
        return f"{_TIMM_TOP[module]}.{leaf}" if module in _TIMM_TOP else name
    stage, block = int(found[1]), int(found[2])
    layers = _TIMM_FIRST_BLOCK if stage == 0 else _TIMM_BLOCK
    if stage >= len(_STAGES) or found[3] not in layers:
        return name
    place = 1 + sum(stage[2] for stage in _STAGES[:stage]) + block
    return f"features.{place}.conv.{layers[found[3]]}.{leaf}"

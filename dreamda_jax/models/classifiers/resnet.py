"""ResNet and ResNeXt as torchvision builds them (torchvision/models/resnet.py).

He et al. 2016 (arXiv 1512.03385) in the variant known as 1.5: a bottleneck's stride lies in its
3x3 convolution. ResNeXt: Xie et al. 2017 (arXiv 1611.05431). Submodules are named so that
torchvision's names follow by rule, `layer1_0` for `layer1.0`.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from dreamda_jax.models.classifiers.torch_layers import batch_norm, convolution, uniform_fan_in

_EXPANSION = 4  # of a bottleneck's output over its stage's width


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside the shortcut."""

    features: int
    stride: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Map [b, h, w, c] to [b, h / stride, w / stride, c']."""
        conv = partial(convolution, dtype=self.dtype)
        norm = partial(batch_norm, train=train, dtype=self.dtype)
        y = conv(self.features, 3, stride=self.stride, name="conv1")(x)
        y = nn.relu(norm(name="bn1")(y))
        y = conv(self.features, 3, name="conv2")(y)
        y = norm(name="bn2")(y)
        return nn.relu(y + _shortcut(x, self.features, self.stride, conv=conv, norm=norm))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside the shortcut; the output has 4 x `features` channels."""

    features: int
    stride: int = 1
    groups: int = 1
    width_per_group: int = 64
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Map [b, h, w, c] to [b, h / stride, w / stride, c']."""
        conv = partial(convolution, dtype=self.dtype)
        norm = partial(batch_norm, train=train, dtype=self.dtype)
        width = self.features * self.width_per_group // 64 * self.groups
        out = self.features * _EXPANSION
        y = conv(width, 1, name="conv1")(x)
        y = nn.relu(norm(name="bn1")(y))
        y = conv(width, 3, stride=self.stride, groups=self.groups, name="conv2")(y)
        y = nn.relu(norm(name="bn2")(y))
        y = conv(out, 1, name="conv3")(y)
        y = norm(name="bn3")(y)
        return nn.relu(y + _shortcut(x, out, self.stride, conv=conv, norm=norm))


class ResNet(nn.Module):
    """Stem, stages of residual blocks, global average pooling, linear head.

    `depths` and `widths` have one entry per stage; each stage but the first halves the side.
    `stem_width` channels leave the stem. `groups` and `width_per_group` matter to bottlenecks.
    `stem`: "imagenet" is a 7x7 convolution of stride 2 and a max-pool (4x smaller); "small" a 3x3
    convolution that keeps the size, for images of 32 pixels. `dtype` is that of the computation;
    parameters and statistics are float32.
    """

    num_classes: int
    depths: tuple[int, ...]
    bottleneck: bool = False
    widths: tuple[int, ...] = (64, 128, 256, 512)
    stem_width: int = 64
    groups: int = 1
    width_per_group: int = 64
    stem: str = "imagenet"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, images: jax.Array, *, train: bool = False, return_features: bool = False
    ) -> Any:
        """Classify.

        Args:
            images: float [b, h, w, 3], normalised.
            train: normalise by the batch's statistics, and update the running ones (`mutable=
                ["batch_stats"]`).
            return_features: return the head's input too.

        Returns:
            Logits, float32 [b, num_classes]; with `return_features` (logits, features), where
            features are float32 [b, d], averaged over height and width.
        """
        x = self._stem(images.astype(self.dtype), train=train)
        for stage, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True), 1):
            for place in range(depth):
                stride = 2 if stage > 1 and place == 0 else 1
                block = self._block(width, stride, name=f"layer{stage}_{place}")
                x = block(x, train=train)
        features = jnp.mean(x.astype(jnp.float32), axis=(1, 2))
        init = uniform_fan_in(features.shape[-1])
        logits = nn.Dense(self.num_classes, kernel_init=init, bias_init=init, name="fc")(features)
        return (logits, features) if return_features else logits

    def _stem(self, x: jax.Array, *, train: bool) -> jax.Array:
        size, stride = (7, 2) if self.stem == "imagenet" else (3, 1)
        x = convolution(self.stem_width, size, stride=stride, dtype=self.dtype, name="conv1")(x)
        x = nn.relu(batch_norm(train=train, dtype=self.dtype, name="bn1")(x))
        if self.stem == "imagenet":  # padded with -inf
            x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        return x

    def _block(self, width: int, stride: int, *, name: str) -> BasicBlock | Bottleneck:
        if not self.bottleneck:
            return BasicBlock(width, stride, dtype=self.dtype, name=name)
        return Bottleneck(
            width, stride, self.groups, self.width_per_group, dtype=self.dtype, name=name
        )


def _shortcut(x: jax.Array, features: int, stride: int, *, conv: Any, norm: Any) -> jax.Array:
    """The identity, or a strided 1x1 projection where the shape changes."""
    if stride == 1 and x.shape[-1] == features:
        return x
    return norm(name="downsample_1")(conv(features, 1, stride=stride, name="downsample_0")(x))

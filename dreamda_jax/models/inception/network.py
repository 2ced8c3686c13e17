"""FID's Inception-v3: the network whose pooled features FID, KID and their kin are defined on.

TensorFlow's network of 2015-12-05 with 1008 classes (Szegedy et al., arXiv 1512.00567), as
torch-fidelity (`feature_extractor_inceptionv3.py`) and pytorch-fid (`inception.py`) ported it: the
same function, names and weights. It is not torchvision's: the averages in its pooling branches
leave the padding out, the last block (Mixed_7c) takes the maximum there, and the weights are other
ones. Submodules have the ports' names, so that the names of tensors follow by rule.
"""

import os
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dreamda_jax.data.files import staging
from dreamda_jax.data.files.digests import file_digest
from dreamda_jax.models.inception.view import RESIZES, SIDE, Resize, inception_view
from dreamda_jax.models.inception.weights import load_inception
from dreamda_jax.models.weights.load import Place
from dreamda_jax.types import Image, Params

NUM_FEATURES = 2048


class Inception(NamedTuple):
    """A feature extractor."""

    variables: Params
    """{"params": ..., "batch_stats": ...}, float32, on the device(s)."""
    features: Callable[[Params, Image], Float[Array, "b 2048"]]
    """`features(variables, images)`: uint8 [b, h, w, 3] of any size -> float32 [b, 2048], not
    negative. It can be traced; a new image size compiles anew."""
    digest: str
    """SHA-256 of the weights' file, hexadecimal."""
    num_features: int = NUM_FEATURES


def open_inception(
    path: str | os.PathLike[str], *, resize: Resize, place: Place = jax.device_put
) -> Inception:
    """Load FID's Inception-v3.

    Args:
        path: the published weights, converted to a safetensors file.
        resize: how images come to 299x299. "clean" as clean-fid does it, or "legacy" as
            torch-fidelity and the original TensorFlow code do; see `inception_view`. Figures of the
            one must not be compared with figures of the other.
        place: puts one array on the device(s).

    Raises:
        UserError: the file is not there, pickled, damaged or that of another network; the message
            says what to download and how to convert it.
        ValueError: another `resize`.
    """
    if resize not in RESIZES:
        raise ValueError(f"resize={resize!r}, but it is one of {', '.join(RESIZES)}")
    file = staging.local(path)
    module = InceptionV3()
    view = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), jnp.float32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), view)
    variables = load_inception(file, shapes, place=place)

    def features(variables: Params, images: Image) -> Float[Array, "b 2048"]:
        return module.bind(variables)(inception_view(images, resize))

    return Inception(variables, features, file_digest([file]))


class ConvBlock(nn.Module):
    """Convolution without bias, BatchNorm by its running statistics, ReLU."""

    features: int
    size: tuple[int, int]
    stride: int = 1
    padding: str = "SAME"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [b, h, w, c] to [b, h', w', features]."""
        x = nn.Conv(
            self.features,
            self.size,
            strides=self.stride,
            padding=self.padding,
            use_bias=False,
            # Else a GPU may round the inputs to 10 bits and a TPU to 7, and figures of different
            # machines, or of a paper, could not be compared.
            precision=jax.lax.Precision.HIGHEST,
            name="conv",
        )(x)
        return nn.relu(nn.BatchNorm(use_running_average=True, epsilon=1e-3, name="bn")(x))


_1X1, _1X3, _3X1, _3X3, _5X5, _1X7, _7X1 = (1, 1), (1, 3), (3, 1), (3, 3), (5, 5), (1, 7), (7, 1)

# Blocks halve height and width without padding; all else keeps them.
_halving = partial(ConvBlock, size=_3X3, stride=2, padding="VALID")
_halving_pool = partial(nn.max_pool, window_shape=_3X3, strides=(2, 2))
_max_pool = partial(nn.max_pool, window_shape=_3X3, padding="SAME")
_average_pool = partial(nn.avg_pool, window_shape=_3X3, padding="SAME", count_include_pad=False)


class InceptionA(nn.Module):
    """Mixed_5b to Mixed_5d."""

    pool_features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [b, h, w, c] to [b, h, w, 224 + pool_features]."""
        single = ConvBlock(64, _1X1, name="branch1x1")(x)

        five = ConvBlock(48, _1X1, name="branch5x5_1")(x)
        five = ConvBlock(64, _5X5, name="branch5x5_2")(five)

        double = ConvBlock(64, _1X1, name="branch3x3dbl_1")(x)
        double = ConvBlock(96, _3X3, name="branch3x3dbl_2")(double)
        double = ConvBlock(96, _3X3, name="branch3x3dbl_3")(double)

        pooled = ConvBlock(self.pool_features, _1X1, name="branch_pool")(_average_pool(x))
        return jnp.concatenate([single, five, double, pooled], axis=-1)


class InceptionB(nn.Module):
    """Mixed_6a."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [b, h, w, c] to [b, (h - 1) // 2, (w - 1) // 2, 480 + c]."""
        three = _halving(384, name="branch3x3")(x)

        double = ConvBlock(64, _1X1, name="branch3x3dbl_1")(x)
        double = ConvBlock(96, _3X3, name="branch3x3dbl_2")(double)
        double = _halving(96, name="branch3x3dbl_3")(double)

        return jnp.concatenate([three, double, _halving_pool(x)], axis=-1)


class InceptionC(nn.Module):
    """Mixed_6b to Mixed_6e."""

    width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [b, h, w, c] to [b, h, w, 768]."""
        single = ConvBlock(192, _1X1, name="branch1x1")(x)

        seven = ConvBlock(self.width, _1X1, name="branch7x7_1")(x)
        seven = ConvBlock(self.width, _1X7, name="branch7x7_2")(seven)
        seven = ConvBlock(192, _7X1, name="branch7x7_3")(seven)

        double = ConvBlock(self.width, _1X1, name="branch7x7dbl_1")(x)
        double = ConvBlock(self.width, _7X1, name="branch7x7dbl_2")(double)
        double = ConvBlock(self.width, _1X7, name="branch7x7dbl_3")(double)
        double = ConvBlock(self.width, _7X1, name="branch7x7dbl_4")(double)
        double = ConvBlock(192, _1X7, name="branch7x7dbl_5")(double)

        pooled = ConvBlock(192, _1X1, name="branch_pool")(_average_pool(x))
        return jnp.concatenate([single, seven, double, pooled], axis=-1)


class InceptionD(nn.Module):
    """Mixed_7a."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [b, h, w, c] to [b, (h - 1) // 2, (w - 1) // 2, 512 + c]."""
        three = ConvBlock(192, _1X1, name="branch3x3_1")(x)
        three = _halving(320, name="branch3x3_2")(three)

        seven = ConvBlock(192, _1X1, name="branch7x7x3_1")(x)
        seven = ConvBlock(192, _1X7, name="branch7x7x3_2")(seven)
        seven = ConvBlock(192, _7X1, name="branch7x7x3_3")(seven)
        seven = _halving(192, name="branch7x7x3_4")(seven)

        return jnp.concatenate([three, seven, _halving_pool(x)], axis=-1)


class InceptionE(nn.Module):
    """Mixed_7b and Mixed_7c, which differ in what their pooling branch does."""

    pool: Callable[[jax.Array], jax.Array]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [b, h, w, c] to [b, h, w, 2048]."""
        single = ConvBlock(320, _1X1, name="branch1x1")(x)

        three = ConvBlock(384, _1X1, name="branch3x3_1")(x)
        three_a = ConvBlock(384, _1X3, name="branch3x3_2a")(three)
        three_b = ConvBlock(384, _3X1, name="branch3x3_2b")(three)

        double = ConvBlock(448, _1X1, name="branch3x3dbl_1")(x)
        double = ConvBlock(384, _3X3, name="branch3x3dbl_2")(double)
        double_a = ConvBlock(384, _1X3, name="branch3x3dbl_3a")(double)
        double_b = ConvBlock(384, _3X1, name="branch3x3dbl_3b")(double)

        pooled = ConvBlock(192, _1X1, name="branch_pool")(self.pool(x))
        return jnp.concatenate([single, three_a, three_b, double_a, double_b, pooled], axis=-1)


class InceptionV3(nn.Module):
    """The whole network but for its classifier; inference only."""

    @nn.compact
    def __call__(self, view: Float[Array, "b h w 3"]) -> Float[Array, "b 2048"]:
        """Extract features.

        Args:
            view: float32 [b, 299, 299, 3] in -1..1, see `inception_view`.

        Returns:
            float32 [b, 2048]: the last block averaged over its 8x8 places (TensorFlow's `pool_3`).
        """
        x = _halving(32, name="Conv2d_1a_3x3")(view)
        x = ConvBlock(32, _3X3, padding="VALID", name="Conv2d_2a_3x3")(x)
        x = ConvBlock(64, _3X3, name="Conv2d_2b_3x3")(x)
        x = _halving_pool(x)
        x = ConvBlock(80, _1X1, name="Conv2d_3b_1x1")(x)
        x = ConvBlock(192, _3X3, padding="VALID", name="Conv2d_4a_3x3")(x)
        x = _halving_pool(x)
        x = InceptionA(32, name="Mixed_5b")(x)
        x = InceptionA(64, name="Mixed_5c")(x)
        x = InceptionA(64, name="Mixed_5d")(x)
        x = InceptionB(name="Mixed_6a")(x)
        x = InceptionC(128, name="Mixed_6b")(x)
        x = InceptionC(160, name="Mixed_6c")(x)
        x = InceptionC(160, name="Mixed_6d")(x)
        x = InceptionC(192, name="Mixed_6e")(x)
        x = InceptionD(name="Mixed_7a")(x)
        x = InceptionE(_average_pool, name="Mixed_7b")(x)
        x = InceptionE(_max_pool, name="Mixed_7c")(x)
        return jnp.mean(x, axis=(1, 2))

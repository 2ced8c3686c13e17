"""What FID's Inception-v3 sees of an image: resized to 299x299 and scaled, on the device.

FID changes with the way of resizing (Parmar et al. 2022, arXiv 2104.11222), so both usual ones are
reproduced here, to rounding:

- "clean": `build_resizer("clean")` of clean-fid, that is Pillow's bicubic with antialiasing on
  float images, not rounded, clipped to 0..255;
- "legacy": `interpolate_bilinear_2d_like_tensorflow1x(align_corners=False)` of torch-fidelity, that
  is the resizing inside the original TensorFlow graph: bilinear, not antialiased, and pixel i of
  the result is taken at i * size / 299, without the half-pixel offset.

Both then scale by (x - 128) / 128, as torch-fidelity and clean-fid do. pytorch-fid differs from
either: bilinear with the half-pixel offset, and 2 * x / 255 - 1.
"""

from collections.abc import Callable
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dreamda_jax.types import Image

Resize = Literal["clean", "legacy"]
RESIZES: tuple[Resize, ...] = get_args(Resize)

SIDE = 299


def inception_view(images: Image, resize: Resize) -> Float[Array, "b 299 299 3"]:
    """Resize and scale images for the network.

    Args:
        images: uint8 [b, h, w, 3] of any size.
        resize: "clean" or "legacy", see the module's docstring.

    Returns:
        float32 [b, 299, 299, 3] in -1..1; 255 becomes 127/128.
    """
    _, height, width, _ = images.shape
    rows, columns = (_MATRICES[resize](size) for size in (height, width))
    # Both are separable and linear, so they are products with two matrices: exact positions are
    # worked out on the host, and an accelerator multiplies faster than it gathers.
    pixels = jnp.asarray(images, jnp.float32)
    exact = jax.lax.Precision.HIGHEST
    pixels = jnp.einsum("bhwc,xw->bhxc", pixels, columns, precision=exact)
    pixels = jnp.einsum("bhxc,yh->byxc", pixels, rows, precision=exact)
    # Bicubic overshoots at edges. Bilinear stays within 0..255 but for rounding.
    return (jnp.clip(pixels, 0, 255) - 128) / 128


def _bicubic(size: int) -> Float[np.ndarray, "299 size"]:
    """Weights of Pillow's `resize(BICUBIC)`: Keys' kernel with a = -1/2, src/libImaging/Resample.c.

    Shrinking widens the kernel by the factor; at the borders the weights within are normalised.
    """
    scale = size / SIDE
    centres = (np.arange(SIDE) + 0.5) * scale
    x = np.abs(np.arange(size) + 0.5 - centres[:, None]) / max(scale, 1.0)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    weights = np.where(x < 1, near, np.where(x < 2, far, 0))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _bilinear(size: int) -> Float[np.ndarray, "299 size"]:
    """Weights of TensorFlow 1's `resize_bilinear`: positions are float32, as they are there."""
    positions = np.arange(SIDE, dtype=np.float32) * np.float32(size / SIDE)
    low = positions.astype(np.int64)
    high = np.minimum(low + 1, size - 1)
    weights = np.zeros((SIDE, size), np.float32)
    np.add.at(weights, (np.arange(SIDE), low), 1 - (positions - low.astype(np.float32)))
    np.add.at(weights, (np.arange(SIDE), high), positions - low.astype(np.float32))
    return weights


_MATRICES: dict[Resize, Callable[[int], np.ndarray]] = {"clean": _bicubic, "legacy": _bilinear}

"""GroupNorm whose sums are taken in two steps: over the image, then over a group's channels.

`flax.linen.GroupNorm` reduces over rows, columns and channels of [b, h, w, groups, c / groups] at
once, of which XLA's CPU compiler makes slow loops: an eighth of the time of a U-Net call
(benchmarks/unet_profile.py). With the channels kept apart at first it vectorises over them. For an
H100 and a v5e both forms compile to programs that move the same bytes in the same memory
(benchmarks/attention_forms.py --part=group_norm).
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def group_norm(
    images: Float[Array, "b h w c"],
    params: Mapping[str, jax.Array],
    *,
    num_groups: int,
    epsilon: float,
) -> Float[Array, "b h w c"]:
    """Normalises each group of channels of each image, as `flax.linen.GroupNorm` does.

    Args:
        images: of any floating dtype; statistics are float32.
        params: "scale" and "bias", [c].
        num_groups: divides c.
        epsilon: added to the variance.

    Returns:
        In the dtype that images and parameters promote to.
    """
    rows, height, width, channels = images.shape
    numbers = images.astype(jnp.promote_types(images.dtype, jnp.float32))
    count = height * width * channels // num_groups

    def mean(values: jax.Array) -> jax.Array:
        of_channels = jnp.sum(values, axis=(1, 2))
        return jnp.sum(of_channels.reshape(rows, num_groups, -1), axis=-1) / count

    def spread(of_groups: jax.Array) -> jax.Array:
        return jnp.repeat(of_groups, channels // num_groups, axis=-1)[:, None, None]

    center = mean(numbers)
    # Rounding may leave a variance of nothing below zero.
    variance = jnp.maximum(0.0, mean(jnp.square(numbers)) - jnp.square(center))
    gain = spread(jax.lax.rsqrt(variance + epsilon)) * params["scale"]
    normalised = (numbers - spread(center)) * gain + params["bias"]
    return normalised.astype(jnp.result_type(images, params["scale"], params["bias"]))

"""Group normalisation (Wu and He 2018, arXiv 1803.08494) from sums that a large mean cannot spoil.

Var[x] = E[x²] − E[x]² loses as many digits as E[x]² is larger than the variance: at |mean| = 100
standard deviations the normalised features are wrong by 1e-3 in float32. The same formula is exact
to rounding for numbers shifted by anything near their mean. Here that is the mean of every eighth
row of the image: it holds an eighth of the numbers, so it is never further from the mean than √7
standard deviations (an eighth of them that far away makes the variance so large by itself), and the
variance loses three bits at worst. Reading them is an eighth of a pass over the features; two whole
passes, mean first, take a pass and sum numbers that still have their mean.

Sums are taken in two steps, over the image and then over a group's channels. `flax.linen.GroupNorm`
reduces over rows, columns and channels of [b, h, w, groups, c / groups] at once, of which XLA's CPU
compiler makes slow loops; with the channels kept apart at first it vectorises over them
(benchmarks/unet_profile.py).
"""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_SAMPLED = 8  # one row in so many is looked at for the shift


class GroupNorm(nn.Module):
    """Normalises each group of channels of each image; has "scale" and "bias", [c].

    Attributes:
        num_groups: divides the number of channels c.
        epsilon: added to the variance.
    """

    num_groups: int = 32
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, features: Float[Array, "b ... c"]) -> Float[Array, "b ... c"]:
        """The result has the dtype that features and parameters promote to."""
        channels = (features.shape[-1],)
        params = {
            "scale": self.param("scale", nn.initializers.ones, channels),
            "bias": self.param("bias", nn.initializers.zeros, channels),
        }
        return group_norm(features, params, num_groups=self.num_groups, epsilon=self.epsilon)


def group_norm(
    features: Float[Array, "b ... c"],
    params: Mapping[str, jax.Array],
    *,
    num_groups: int,
    epsilon: float,
) -> Float[Array, "b ... c"]:
    """(x − mean) / √(variance + epsilon) · scale + bias, of each group of channels of each image.

    Args:
        features: [b, h, w, c] or [b, n, c] of any floating dtype; statistics are float32.
        params: "scale" and "bias", [c].
        num_groups: divides c.
        epsilon: added to the variance, which is the biased one.

    Returns:
        In the dtype that features and parameters promote to.

    Raises:
        ValueError: the channels cannot be divided into so many groups.
    """
    channels = features.shape[-1]
    if channels % num_groups:
        raise ValueError(f"{channels} channels cannot be divided into {num_groups} groups")
    numbers = features.astype(jnp.promote_types(features.dtype, jnp.float32))

    # The result does not depend on the shift, so its gradient is nothing.
    shift = jax.lax.stop_gradient(_group_means(numbers[:, ::_SAMPLED], num_groups))
    shifted = numbers - _to_channels(shift, numbers)
    center = _group_means(shifted, num_groups)
    # Rounding may leave a variance of nothing below zero.
    variance = jnp.maximum(0.0, _group_means(jnp.square(shifted), num_groups) - jnp.square(center))
    gain = _to_channels(jax.lax.rsqrt(variance + epsilon), numbers) * params["scale"]
    normalised = (shifted - _to_channels(center, numbers)) * gain + params["bias"]
    return normalised.astype(jnp.result_type(features, params["scale"], params["bias"]))


def _group_means(numbers: jax.Array, num_groups: int) -> jax.Array:
    """[b, groups]."""
    rows, *spatial, channels = numbers.shape
    of_channels = jnp.sum(numbers, axis=tuple(range(1, 1 + len(spatial))))
    in_group = channels // num_groups
    count = numbers[0].size // num_groups
    return jnp.sum(of_channels.reshape(rows, num_groups, in_group), axis=-1) / count


def _to_channels(of_groups: jax.Array, numbers: jax.Array) -> jax.Array:
    """[b, groups] as [b, 1, …, c]."""
    rows, groups = of_groups.shape
    repeated = jnp.repeat(of_groups, numbers.shape[-1] // groups, axis=-1)
    return repeated.reshape(rows, *[1] * (numbers.ndim - 2), -1)

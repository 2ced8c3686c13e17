"""Timesteps as vectors: sines of many wavelengths (Vaswani et al. 2017, §3.5), then an MLP."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

_LONGEST = 10_000


def timestep_features(
    timesteps: Float[Array, " n"], dim: int, *, cosine_first: bool, freq_shift: float
) -> Float[Array, "n d"]:
    """cos(t ω_i) and sin(t ω_i) with ω_i = 10000^(−i / (dim/2 − freq_shift)), i < dim / 2.

    The frequencies are made here as PyTorch diffusers makes them, in float32 throughout: at
    t = 999 the last place of ω_0 is 6e-5 of a radian.

    Args:
        timesteps: of any number, such as 981.0.
        dim: d, how many features; if it is odd, the last one is 0.
        cosine_first: `flip_sin_to_cos` of the checkpoint's config; else sines come first.
        freq_shift: of the checkpoint's config; 0 in Stable Diffusion.

    Returns:
        float32.
    """
    half = dim // 2
    exponents = np.float32(-math.log(_LONGEST)) * np.arange(half, dtype=np.float32)
    exponents = exponents / np.float32(half - freq_shift)
    frequencies = np.exp(exponents.astype(np.float64)).astype(np.float32)
    phases = timesteps.astype(jnp.float32)[:, None] * frequencies
    parts = [jnp.sin(phases), jnp.cos(phases)]
    if cosine_first:
        parts.reverse()
    return jnp.pad(jnp.concatenate(parts, axis=-1), ((0, 0), (0, dim % 2)))


class FlaxTimestepEmbedding(nn.Module):
    """Two dense layers with SiLU between them: "linear_1", "linear_2".

    Attributes:
        dim: d, features of the result.
        has_condition: whether there is "cond_proj", without a bias, which adds a condition to the
            features first: how LCM's networks are told the guidance scale (arXiv 2310.04378).
        dtype: of the result.
    """

    dim: int
    has_condition: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, features: Float[Array, "b f"], condition: Float[Array, "b k"] | None = None
    ) -> Float[Array, "b d"]:
        """The embedding of each row; without a condition nothing is added."""
        features = features.astype(self.dtype)
        if self.has_condition and condition is not None:
            dense = nn.Dense(features.shape[-1], use_bias=False, dtype=self.dtype, name="cond_proj")
            features = features + dense(condition)
        hidden = nn.silu(nn.Dense(self.dim, dtype=self.dtype, name="linear_1")(features))
        result: jax.Array = nn.Dense(self.dim, dtype=self.dtype, name="linear_2")(hidden)
        return result

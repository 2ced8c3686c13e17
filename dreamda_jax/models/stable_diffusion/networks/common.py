"""What all blocks of one U-Net share: a value that is handed down, instead of arguments of each."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from dreamda_jax.models.stable_diffusion.fused_attention import Attention


class Common(NamedTuple):
    """Settings of every block of a U-Net.

    Attributes:
        num_groups: of every GroupNorm (`norm_num_groups` of the config).
        epsilon: of the residual blocks' and the last GroupNorm (`norm_eps`).
        use_linear_projection: whether transformers begin and end with dense layers instead of 1x1
            convolutions; the weights have other shapes.
        upcast_attention: whether attention's scores are float32.
        attention: how the many tokens of an image attend to each other; see `fused_attention`.
        dtype: of activations.
    """

    num_groups: int = 32
    epsilon: float = 1e-5
    use_linear_projection: bool = False
    upcast_attention: bool = False
    attention: Attention = "plain"
    dtype: Any = jnp.float32

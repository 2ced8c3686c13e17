"""Array shapes in one place, as jaxtyping aliases.

Axis names: `b` seed images, `n` variants of one seed, `r` rows of a U-Net call, `s` executed steps,
`h w` height and width (pixels for images, latent cells for latents), `l` tokens, `d` channels.
Latents are NCHW, as in diffusers; images are NHWC, as on disk. Scheduler arithmetic is float32.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Array, Float, Int, UInt8

AnyArray = Array | np.ndarray  # what may still be on the host
Params = Any  # a nested dict of arrays, as Flax uses it

Image = UInt8[AnyArray, "*b h w 3"]  # sRGB, 0..255
Latent = Float[Array, "*b 4 h w"]  # scaled by the VAE's scaling factor: about unit variance
Bottleneck = Float[Array, "r h w d"]  # NHWC, the output of the U-Net's mid block
Context = Float[Array, "*b l d"]  # encoder_hidden_states: the text encoder's last hidden state
TokenIds = Int[Array, "b l"]

Denoise = Callable[[Latent, Int[AnyArray, ""], Context], Latent]
"""`denoise(latents, timestep, context)`: the network's raw output (ε or v), in float32."""

Metrics = dict[str, Array]
Loss = Callable[[Params, Params, Any, Array, Any], tuple[Array, tuple[Params, Any, Metrics]]]
"""`loss(params, batch_stats, method_state, key, batch) -> (loss, (batch_stats, method_state,
metrics))`: what a training method is. Metrics are float32 scalars; one is "accuracy"."""

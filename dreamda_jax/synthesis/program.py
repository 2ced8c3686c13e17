"""A method as one program over devices: each makes the variants of its own seeds."""

from typing import Any

import chex
import jax.numpy as jnp

from dreamda_jax.models.stable_diffusion.model import StableDiffusion
from dreamda_jax.runtime.devices import ROWS, WHOLE, map_devices
from dreamda_jax.synthesis.method import Inputs, Method, Outputs
from dreamda_jax.types import Params

INPUTS = Inputs(
    images=ROWS,
    contexts=ROWS,
    source_context=WHOLE,
    empty_context=WHOLE,
    keys=ROWS,
    variants=WHOLE,
)
"""Which of a batch's arrays are split among the devices, by seed."""


def synthesis_program(
    model: StableDiffusion, method: Method, devices: Any = None, *, keep_trajectory: bool = False
) -> Any:
    """The compiled program `program(params, inputs)`.

    It takes parameters that are the same on all devices, and `Inputs` of all their seeds: arrays
    [devices · b, ...] where `INPUTS` says so. It returns `Outputs` of all of them, whose `site_rms`
    is that of each device, float32 [devices].

    Args:
      model: the networks.
      method: how variants are made.
      devices: default: the local ones; see `devices.map_devices`.
      keep_trajectory: whether the latents after each step are kept.
    """

    def synthesize(params: Params, inputs: Inputs) -> Outputs:
        chex.assert_rank(list(inputs), [4, 4, 2, 2, 2, 1])
        chex.assert_type([inputs.images, inputs.keys], [jnp.uint8, jnp.uint32])
        chex.assert_equal_shape_prefix([inputs.images, inputs.contexts, inputs.keys], 1)
        outputs = method.synthesize(model, params, inputs, keep_trajectory=keep_trajectory)
        return outputs._replace(site_rms=outputs.site_rms[None])

    return map_devices(synthesize, (WHOLE, INPUTS), devices)

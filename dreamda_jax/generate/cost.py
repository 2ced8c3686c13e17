"""What a synthetic image costs, read off the program that will make it."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dreamda_jax.models.stable_diffusion.model import UNET_SCOPE, StableDiffusion, abstract_params
from dreamda_jax.runtime import devices
from dreamda_jax.runtime.flops import count_flops, count_flops_within
from dreamda_jax.runtime.program_notes import ProgramNotes
from dreamda_jax.synthesis.method import Inputs, Learning, Method
from dreamda_jax.synthesis.program import INPUTS
from dreamda_jax.types import Params

# Of the uncompressed pixels; PNG of photographs and of generated images lies below, JPEG at quality
# 95 too, so that a disk that is found large enough is large enough.
_COMPRESSED_SHARE = {"png": 0.7, "jpeg": 0.25}
_RECORD_OVERHEAD = 2_000  # names, prompt, key and ArrayRecord's index, generously
_FILE_OVERHEAD = 150_000  # ArrayRecord fills blocks of 64 KiB


class Cost(NamedTuple):
    """FLOPs of one synthetic image, and of its parts.

    Attributes:
      flops: everything: encoding, inversion, learning, other networks and decoding included.
      unet_flops: of these, those of the U-Net; a row that is differentiated counts as what its
        gradient takes.
      row_flops: one row of the U-Net, at one timestep.
      learning_flops: of all, its share of what is learnt of its seed before anything is made.
    """

    flops: float
    unet_flops: float
    row_flops: float
    learning_flops: float = 0.0

    @classmethod
    def noted(cls, notes: ProgramNotes) -> "Cost | None":
        """What an earlier run counted of the same program; None where that is not noted."""
        numbers = {name: notes.number(name) for name in cls._fields}
        known = {name: number for name, number in numbers.items() if number is not None}
        return cls(**known) if len(known) == len(numbers) else None

    @property
    def other_flops(self) -> float:
        """Beside the U-Net: the VAE, and what else a method asks."""
        return self.flops - self.unet_flops

    @property
    def unet_rows(self) -> float:
        """U-Net rows per synthetic image; a shared encoder counts with its share of a row."""
        return self.unet_flops / self.row_flops


def abstract_inputs(
    model: StableDiffusion,
    method: Method,
    *,
    resolution: int,
    num_seeds: int,
    num_variants: int,
) -> Inputs:
    """Shapes and dtypes of a batch, for tracing."""
    if method.learning is not None:
        tail: tuple[int, ...] = method.learning.embedding_shape(model)
        dtype: Any = jnp.float32
    else:
        tokens = jax.ShapeDtypeStruct((1, model.num_tokens), jnp.int32)
        context = jax.eval_shape(model.encode_text, abstract_params(model), tokens)
        tail, dtype = context.shape[1:], context.dtype
    shape: Any = jax.ShapeDtypeStruct  # stands in for an array wherever JAX only traces
    return Inputs(
        images=shape((num_seeds, resolution, resolution, 3), jnp.uint8),
        contexts=shape((num_seeds, num_variants, *tail), dtype),
        source_context=shape(tail, dtype),
        empty_context=shape(tail, dtype),
        keys=shape((num_seeds, 2), jnp.uint32),
        variants=shape((num_variants,), jnp.int32),
    )


def price(
    model: StableDiffusion,
    method: Method,
    *,
    resolution: int,
    num_variants: int,
    seeds_per_device: int = 1,
    program: Callable[[Params, Inputs], Any] | None = None,
) -> Cost:
    """Counts the FLOPs of one synthetic image by tracing the program on shapes alone.

    Args:
      model: the networks.
      method: how variants are made.
      resolution: side in pixels.
      num_variants: n, of each seed image.
      seeds_per_device: b, seed images in one call of the program on one device.
      program: the one that is about to run, mapped over the local devices, which then need not be
        traced again; None, and where the model has kernels that hide their products: another.
    """
    params = {**abstract_params(model), **method.extra_params()}
    inputs = abstract_inputs(
        model, method, resolution=resolution, num_seeds=seeds_per_device, num_variants=num_variants
    )
    latents = jax.ShapeDtypeStruct((1, *model.latent_shape(resolution)), jnp.float32)
    context = jax.ShapeDtypeStruct((1, *inputs.source_context.shape), inputs.source_context.dtype)
    plain = model
    if model.attention != "plain":
        plain, program = model.with_attention("plain"), None
    arguments: tuple[Params, Inputs] = (params, inputs)
    if program is None:

        def program(params: Params, inputs: Inputs) -> Any:
            return method.synthesize(plain, params, inputs, keep_trajectory=False)

    else:
        # As the engine calls it: parameters lie on the devices, inputs come from the host.
        arguments = (
            jax.tree.map(devices.replicated_shape, params),
            devices.rows_of_all(inputs, INPUTS),
        )
    making = count_flops_within(UNET_SCOPE, program, *arguments)
    learning = _learning_flops(plain, method.learning, params, inputs)
    images = seeds_per_device * num_variants
    return Cost(
        flops=(making[0] + learning[0]) / images,
        unet_flops=(making[1] + learning[1]) / images,
        row_flops=count_flops(plain.denoise, params, latents, np.int32(1), context),
        learning_flops=learning[0] / images,
    )


def _learning_flops(
    model: StableDiffusion, learning: Learning | None, params: Params, inputs: Inputs
) -> tuple[float, float]:
    """(All, the U-Net's) of what is learnt of seeds before anything is made of them."""
    if learning is None:
        return 0.0, 0.0
    start = functools.partial(learning.start, model)
    learn = functools.partial(learning.learn, model)
    state = jax.eval_shape(start, params, inputs.images, inputs.keys)
    calls = learning.learning_steps / learning.steps_per_call
    first = count_flops_within(UNET_SCOPE, start, params, inputs.images, inputs.keys)
    each = count_flops_within(UNET_SCOPE, learn, params, state, inputs.keys, np.int32(0))
    return first[0] + calls * each[0], first[1] + calls * each[1]


def estimated_bytes(num_images: int, *, num_shards: int, resolution: int, image_format: str) -> int:
    """An upper estimate of what a data set takes on the disk."""
    pixels = resolution * resolution * 3
    one = pixels * _COMPRESSED_SHARE[image_format] + _RECORD_OVERHEAD
    return int(num_images * one + num_shards * _FILE_OVERHEAD)

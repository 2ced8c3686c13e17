"""What a synthetic image costs, read off the program that will make it."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dreamda_jax.models.stable_diffusion.model import UNET_SCOPE, StableDiffusion, abstract_params
from dreamda_jax.runtime.flops import count_flops
from dreamda_jax.synthesis.diffusion_inversion import DiffusionInversion
from dreamda_jax.synthesis.method import Inputs, Method
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
    if isinstance(method, DiffusionInversion):
        tail: tuple[int, ...] = method.embedding_shape(model)
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


def price(model: StableDiffusion, method: Method, *, resolution: int, num_variants: int) -> Cost:
    """Counts the FLOPs of one synthetic image by tracing the program on shapes alone."""
    model = dataclasses.replace(model, attention="plain")  # kernels hide their products
    params = {**abstract_params(model), **method.extra_params()}
    inputs = abstract_inputs(
        model, method, resolution=resolution, num_seeds=1, num_variants=num_variants
    )
    latents = jax.ShapeDtypeStruct((1, *model.latent_shape(resolution)), jnp.float32)
    context = jax.ShapeDtypeStruct((1, *inputs.source_context.shape), inputs.source_context.dtype)
    row = count_flops(model.denoise, params, latents, np.int32(1), context)

    def program(params: Params, inputs: Inputs) -> Any:
        return method.synthesize(model, params, inputs, keep_trajectory=False)

    def both(scope: str | None) -> tuple[float, float]:
        learning = _learning_flops(model, method, params, inputs, scope)
        making = count_flops(program, params, inputs, scope=scope)
        return (learning + making) / num_variants, learning / num_variants

    (every, learning), (in_unet, _) = both(None), both(UNET_SCOPE)
    return Cost(every, in_unet, row, learning)


def _learning_flops(
    model: StableDiffusion, method: Method, params: Params, inputs: Inputs, scope: str | None
) -> float:
    """Of what is learnt of a seed before anything is made of it; 0 for most methods."""
    if not isinstance(method, DiffusionInversion):
        return 0.0
    start = functools.partial(method.start, model)
    state = jax.eval_shape(start, params, inputs.images, inputs.keys)
    calls = method.learning_steps / method.steps_per_call
    learn = functools.partial(method.learn, model)
    each = count_flops(learn, params, state, inputs.keys, np.int32(0), scope=scope)
    return calls * each + count_flops(start, params, inputs.images, inputs.keys, scope=scope)


def estimated_bytes(num_images: int, *, num_shards: int, resolution: int, image_format: str) -> int:
    """An upper estimate of what a data set takes on the disk."""
    pixels = resolution * resolution * 3
    one = pixels * _COMPRESSED_SHARE[image_format] + _RECORD_OVERHEAD
    return int(num_images * one + num_shards * _FILE_OVERHEAD)

"""What a synthetic image costs, read off the program that will make it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dreamda_jax.models.stable_diffusion import StableDiffusion, abstract_params
from dreamda_jax.report.flops import count_flops
from dreamda_jax.synthesis.method import Inputs, Method

# Of the uncompressed pixels; PNG of photographs and of generated images lies below, JPEG at quality
# 95 too, so that a disk that is found large enough is large enough.
_COMPRESSED_SHARE = {"png": 0.7, "jpeg": 0.25}
_RECORD_OVERHEAD = 2_000  # names, prompt, key and ArrayRecord's index, generously
_FILE_OVERHEAD = 150_000  # ArrayRecord fills blocks of 64 KiB


class Cost(NamedTuple):
    """FLOPs of one synthetic image, and of its parts.

    Attributes:
      flops: everything, encode, inversion and decode included.
      vae_flops: encoding the seed (its share) and decoding the image.
      row_flops: one row of the U-Net, at one timestep.
      unet_rows: (flops − vae_flops) / row_flops.
    """

    flops: float
    vae_flops: float
    row_flops: float

    @property
    def unet_rows(self) -> float:
        """U-Net rows per synthetic image; a shared encoder counts with its share of a row."""
        return (self.flops - self.vae_flops) / self.row_flops


def abstract_inputs(
    model: StableDiffusion, *, resolution: int, num_seeds: int, num_variants: int
) -> Inputs:
    """Shapes and dtypes of a batch, for tracing."""
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
    params = abstract_params(model)
    inputs = abstract_inputs(model, resolution=resolution, num_seeds=1, num_variants=num_variants)
    latents = jax.ShapeDtypeStruct((1, *model.latent_shape(resolution)), jnp.float32)
    context = jax.ShapeDtypeStruct((1, *inputs.source_context.shape), inputs.source_context.dtype)
    program = count_flops(
        lambda params, inputs: method.synthesize(model, params, inputs, keep_trajectory=False),
        params,
        inputs,
    )
    encode = count_flops(model.encode_image, params, inputs.images)
    decode = count_flops(model.decode_latents, params, latents)
    row = count_flops(model.denoise, params, latents, np.int32(1), context)
    return Cost(program / num_variants, encode / num_variants + decode, row)


def estimated_bytes(num_images: int, *, num_shards: int, resolution: int, image_format: str) -> int:
    """An upper estimate of what a data set takes on the disk."""
    pixels = resolution * resolution * 3
    one = pixels * _COMPRESSED_SHARE[image_format] + _RECORD_OVERHEAD
    return int(num_images * one + num_shards * _FILE_OVERHEAD)

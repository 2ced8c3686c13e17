"""Random networks whose activations are like a trained network's in size, drawn on the device.

A card's power, and with it its clock, depends on the numbers it multiplies: zeros run 13 % faster
on an H200 than numbers of unit variance. So the networks that are timed must neither fade nor grow.

Kernels are drawn as LeCun normal (variance 1 / fan-in), which keeps the second moment of its input.
Two things would move it. Residual branches add up, so the last layer of each is drawn smaller, as
GPT-2's are (Radford et al. 2019, section 2.3). And a convolution after GroupNorm and SiLU sees
numbers whose second moment is 0.356, so the last one of a network is drawn larger: its output has
an RMS of 1 whatever its input, and can be the next call's input. `block_rms` measures what came
out, and `check_rms` refuses it where it is off.
"""

import functools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from dreamda_jax.models.stable_diffusion.model import (
    REMAT_BLOCKS,
    UNET_BLOCKS,
    StableDiffusion,
    abstract_params,
    from_configs,
)
from dreamda_jax.plan.known_configs import SD15, KnownConfigs
from dreamda_jax.types import Params

RMS_LOW, RMS_HIGH = 1 / 3, 3.0
"""Of every block's output. Where activations lie within a factor of three of 1, no number of a
16-bit format is rounded to nothing or saturates, and mantissas are as full as a trained network's;
a block's RMS also depends on how many residual branches lie before it, which is no fault."""

_RESIDUAL_GAIN = 0.3
_AFTER_SILU = 0.3557**-0.5  # 1 / sqrt(E[silu(z)^2]), z standard normal
# The last layer of each residual branch: ResNet block, Transformer2D, attention, feed-forward; of
# the VAE's attention; of CLIP's two.
_LAST_OF_BRANCH = {"conv2", "proj_out", "to_out_0", "net_2", "proj_attn", "out_proj", "fc2"}


class Size(NamedTuple):
    """Networks and images of a run of the check.

    Attributes:
      name: as the option calls it.
      configs: of the networks.
      resolution: side of an image in pixels.
      matrix_side: of the product that stands for a card's peak.
      copy_bytes: of the array that is copied.
    """

    name: str
    configs: KnownConfigs
    resolution: int
    matrix_side: int
    copy_bytes: int


def size_named(name: str) -> Size:
    """The networks that go by "sd15", or by "micro": the smallest that have every part."""
    if name == "sd15":
        return Size(name, SD15, resolution=512, matrix_side=16_384, copy_bytes=2 << 30)
    from tests.support.micro_model import MICRO

    return Size(name, MICRO, resolution=32, matrix_side=256, copy_bytes=1 << 20)


def networks(size: Size, dtype: str, *, tokenizer: Any = None) -> StableDiffusion:
    """The networks without parameters, attention in the plain form.

    Args:
      size: which.
      dtype: "float32", "bfloat16" or "float16", with which the VAE is float32.
      tokenizer: where prompts are to be encoded.
    """
    configs = size.configs
    return from_configs(
        unet_config=configs.unet,
        vae_config=configs.vae,
        text_config=configs.text_encoder,
        scheduler_config=configs.scheduler,
        tokenizer=tokenizer,
        dtype=dtype,
    )


def draw(model: StableDiffusion, *names: str, device: Any) -> dict[str, Params]:
    """Random parameters of some of the networks, drawn where they are used.

    Args:
      model: the networks; its dtype is that of the parameters, drawn in float32 and rounded, so
        that those of one dtype are the others' rounded.
      *names: "unet", "vae", "text_encoder".
      device: where they shall be.

    Returns:
      {name: parameters}; the same numbers at every call on devices of one kind.
    """
    found = {}
    for number, name in enumerate(names):
        flat = flax.traverse_util.flatten_dict(abstract_params(model)[name])
        kernels = {path: leaf for path, leaf in flat.items() if path[-1] in ("kernel", "embedding")}
        gains = {path: _gain(path, leaf.shape, model) for path, leaf in kernels.items()}
        # One draw for a network, which is cut up: to compile hundreds of draws takes far longer.
        # By the hardware's generator, since threefry takes three times as long to compile.
        key = jax.device_put(jax.random.key(number, impl="rbg"), device)
        length = sum(leaf.size for leaf in kernels.values())
        numbers = jax.jit(jax.random.normal, static_argnums=1)(key, (length,))
        cut = functools.partial(_cut, shapes=flat, gains=gains)
        found[name] = jax.block_until_ready(jax.jit(cut)(numbers))
    return found


def _cut(numbers: jax.Array, shapes: Mapping[Any, Any], gains: Mapping[Any, float]) -> Params:
    """Kernels from standard normal numbers, one after the other; scales are 1 and biases 0."""
    start, flat = 0, {}
    for path, leaf in shapes.items():
        if path in gains:
            drawn = jax.lax.slice(numbers, (start,), (start + leaf.size,))
            flat[path] = (gains[path] * drawn.reshape(leaf.shape)).astype(leaf.dtype)
            start += leaf.size
        else:
            flat[path] = jnp.full(leaf.shape, float(path[-1] == "scale"), leaf.dtype)
    return flax.traverse_util.unflatten_dict(flat)


def _gain(path: tuple[str, ...], shape: tuple[int, ...], model: StableDiffusion) -> float:
    """The standard deviation of a kernel's numbers."""
    module = path[-2]
    if path[-1] == "embedding":
        return 1.0
    gain = math.prod(shape[:-1]) ** -0.5
    if module in _LAST_OF_BRANCH:
        gain *= _RESIDUAL_GAIN
    elif module == "conv_out":
        gain *= _AFTER_SILU
    elif module == "quant_conv":  # latents, which are scaled afterwards, get an RMS of 1
        gain /= float(model.vae.scaling_factor)
    elif module == "post_quant_conv":
        gain *= float(model.vae.scaling_factor)
    return gain


def inputs(model: StableDiffusion, size: Size, rows: int, *, device: Any) -> tuple[Any, Any]:
    """Latents float32 [rows, 4, h, w] and contexts [rows, l, d] of unit variance, on a device."""
    generator = np.random.default_rng(0)
    latents = generator.standard_normal((rows, *model.latent_shape(size.resolution)), np.float32)
    width = model.text_encoder.config.hidden_size
    context = generator.standard_normal((rows, model.num_tokens, width), np.float32)
    return jax.device_put((latents, context.astype(model.dtype)), device)


def denoise_with_rms(
    model: StableDiffusion, params: Params, latents: Any, context: Any
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """A U-Net call, and the RMS of what each of its blocks returned.

    Blocks are those an interceptor may match (down, mid, up), and the ResNet blocks and
    transformers they are made of. Can be traced.

    Returns:
      (output, {path: float32 []}), "output" among the paths.
    """
    found: dict[str, jax.Array] = {}

    def record(next_fun: Any, args: tuple, kwargs: dict, context: Any) -> Any:
        output = next_fun(*args, **kwargs)
        module = context.module
        if context.method_name == "__call__" and isinstance(module, UNET_BLOCKS + REMAT_BLOCKS):
            # Down blocks return their skip connections as well.
            features = output[0] if isinstance(output, tuple) else output
            found["/".join(module.path)] = _rms(features)
        return output

    with nn.intercept_methods(record):
        output = model.denoise(params, latents, 500, context)
    return output, {**found, "output": _rms(output)}


def _rms(features: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.mean(jnp.square(features.astype(jnp.float32))))


def check_rms(measured: Mapping[str, Any]) -> tuple[float, float]:
    """The smallest and the largest of what `denoise_with_rms` measured.

    Raises:
      AssertionError: one is outside of `RMS_LOW` … `RMS_HIGH`, or no number.
    """
    numbers = {path: float(value) for path, value in measured.items()}
    wrong = {path: rms for path, rms in numbers.items() if not RMS_LOW <= rms <= RMS_HIGH}
    if wrong:
        path, rms = next(iter(wrong.items()))
        raise AssertionError(
            f"the RMS of {len(wrong)} of {len(numbers)} blocks is outside of {RMS_LOW:.2f} to "
            f"{RMS_HIGH:.0f}, such as {rms:.3g} of {path}: timings would not be those of a trained "
            "network"
        )
    return min(numbers.values()), max(numbers.values())

"""The perturbation: Gaussian noise at one place of the U-Net, by `nn.intercept_methods`.

No model is forked. Around one call of the network an interceptor adds noise to the output of one
block: the bottleneck (the paper's choice), or any encoder or decoder block (its Table 7). Where the
update rule also needs the clean prediction (Eq. 6), the batch is doubled *at that block*:
everything before it runs once, everything after it runs on the clean and the noisy half together.

Places outside the network (x_T, every x_t, the final x_0; its Table 1) are plain additions and live
in `sample.py` and the method that uses them.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dreamda_jax.types import AnyArray, Context, Denoise, Latent

LATENT_SITES = ("x_T", "x_t", "x_0")
_MODULE_NAMES = {"encoder": "down_blocks", "decoder": "up_blocks"}  # as diffusers names them

DrawNoise = Callable[[tuple[int, ...]], Float[Array, "r ..."]]
"""`draw(shape)`: standard normal noise for a feature map of that shape, rows first."""


class Perturbed(NamedTuple):
    """What one perturbed network call gives.

    Attributes:
      noisy: raw network output with the perturbation, float32 [r, 4, h, w].
      clean: the same without it, or None if it was not asked for.
      mean_square: mean square of the feature map before noise was added, float32 [].
    """

    noisy: Latent
    clean: Latent | None
    mean_square: Float[Array, ""]


def site_module_name(site: str, *, num_encoder_blocks: int, num_decoder_blocks: int) -> str:
    """The name of the U-Net's submodule at `site`.

    Args:
      site: "bottleneck", "encoder_<i>" or "decoder_<i>", i counting from the U-Net's input.
      num_encoder_blocks: how many down blocks the U-Net has.
      num_decoder_blocks: how many up blocks it has.

    Raises:
      ValueError: there is no such place; the message lists those there are.
    """
    if site == "bottleneck":
        return "mid_block"
    counts = {"encoder": num_encoder_blocks, "decoder": num_decoder_blocks}
    match = re.fullmatch(r"(encoder|decoder)_(\d+)", site)
    if match and int(match[2]) < counts[match[1]]:
        return f"{_MODULE_NAMES[match[1]]}_{match[2]}"
    names = [f"{kind}_{i}" for kind, count in counts.items() for i in range(count)]
    raise ValueError(
        f"unknown perturbation site {site!r}; this network has "
        f"{', '.join(['bottleneck', *names, *LATENT_SITES])}"
    )


def _tile_rows(tree: Any, rows: int, batch: int) -> Any:
    """Repeats every array of `rows` rows until it has `batch`."""

    def tile(x: Any) -> Any:
        is_short = isinstance(x, jax.Array) and x.ndim > 0 and x.shape[0] == rows != batch
        return jnp.concatenate([x] * (batch // rows)) if is_short else x

    return jax.tree.map(tile, tree)


def perturbed_call(
    denoise: Denoise,
    latents: Latent,
    timestep: Int[AnyArray, ""],
    context: Context,
    *,
    blocks: tuple[type[nn.Module], ...],
    module_name: str,
    noise_scale: float,
    draw: DrawNoise,
    keep_clean: bool,
) -> Perturbed:
    """Calls the network with `noise_scale · draw(shape)` added at one block's output.

    A down block hands its output on twice, to the next block and as a skip connection: both are the
    same tensor and both get the noise.

    Args:
      denoise: the network, called once.
      latents: float32 [r, 4, h, w].
      timestep: int32 [].
      context: [r, l, d].
      blocks: the classes of the U-Net's blocks; others (the VAE's mid block) are left alone.
      module_name: which of them, as `site_module_name` gives it.
      noise_scale: σ_h, in the units of the feature map.
      draw: makes the noise; called once with the feature map's shape [r, h', w', d].
      keep_clean: whether to return the clean output too; the batch doubles at the block.

    Raises:
      ValueError: no block of that name was called.
    """
    chex.assert_rank([latents, context], [4, 3])
    rows = latents.shape[0]
    mean_squares: list[jax.Array] = []

    def add_noise(hidden: jax.Array) -> jax.Array:
        wide = hidden.astype(jnp.float32)
        mean_squares.append(jnp.mean(jnp.square(wide)))
        noisy = (wide + noise_scale * draw(hidden.shape)).astype(hidden.dtype)
        return jnp.concatenate([hidden, noisy]) if keep_clean else noisy

    def interceptor(next_fun: Callable, args: tuple, kwargs: dict, context: Any) -> Any:
        # Interceptors see every method of every module, `setup` included.
        if context.method_name != "__call__" or not isinstance(context.module, blocks):
            return next_fun(*args, **kwargs)
        args, kwargs = _tile_rows((args, kwargs), rows, args[0].shape[0])
        output = next_fun(*args, **kwargs)
        if context.module.name != module_name:
            return output
        if isinstance(output, tuple):  # a down block: its output and its skip connections
            hidden, skips = output
            noisy = add_noise(hidden)
            return noisy, (*skips[:-1], noisy)
        return add_noise(output)

    with nn.intercept_methods(interceptor):
        output = denoise(latents, timestep, context)
    if not mean_squares:
        raise ValueError(f"the network called no block named {module_name!r}")
    if keep_clean:
        return Perturbed(output[rows:], output[:rows], mean_squares[0])
    return Perturbed(output, None, mean_squares[0])

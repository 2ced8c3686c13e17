"""What the sections share: the card, the networks, their weights, and figures found once."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.accelerator_check import timing, weights
from dreamda_jax.models.stable_diffusion.model import StableDiffusion, abstract_params
from dreamda_jax.runtime.chips import Chip
from dreamda_jax.runtime.flops import count_flops
from dreamda_jax.types import Params

ROWS_OF_CHECK = 2  # one guided image


class FullCall(NamedTuple):
    """One U-Net call of `ROWS_OF_CHECK` rows, made twice.

    Attributes:
      output: float32 [rows, 4, h, w].
      again: that of the second time.
      rms: the smallest and the largest of the blocks.
    """

    output: np.ndarray
    again: np.ndarray
    rms: tuple[float, float]


@dataclasses.dataclass(eq=False)
class Setup:
    """The card and what is asked of it.

    Attributes:
      size: of the networks.
      devices: of this process.
      chip: what a data sheet says of one; None: not known.
      memory_limit: bytes of the smallest; None: not known.
      rows: batch sizes of the U-Net.
      dtypes: in which it is timed.
      loop_seconds: that a timed loop should last.
      product_rates: FLOP/s of a large matrix product by dtype, as far as they were measured.
      rows_per_second: of the U-Net, the best that was measured; 0: not yet.
    """

    size: weights.Size
    devices: list[Any]
    chip: Chip | None
    memory_limit: int | None
    rows: tuple[int, ...]
    dtypes: tuple[str, ...]
    loop_seconds: float
    product_rates: dict[str, float] = dataclasses.field(default_factory=dict)
    rows_per_second: float = 0.0
    _models: dict[str, StableDiffusion] = dataclasses.field(default_factory=dict)
    _unets: dict[str, dict[str, Params]] = dataclasses.field(default_factory=dict)
    _calls: dict[str, FullCall] = dataclasses.field(default_factory=dict)

    @property
    def device(self) -> Any:
        """The one that everything but the last section runs on."""
        return self.devices[0]

    @functools.cached_property
    def host(self) -> Any:
        """The CPU device that results are compared with."""
        return jax.local_devices(backend="cpu")[0]

    def model(self, dtype: str) -> StableDiffusion:
        """The networks of this size, with the form of attention that `auto` takes on this card."""
        if dtype not in self._models:
            plain = weights.networks(self.size, dtype)
            self._models[dtype] = plain.with_attention_for(self.device)
        return self._models[dtype]

    def unet(self, dtype: str) -> dict[str, Params]:
        """{"unet": parameters} on the card."""
        if dtype not in self._unets:
            self._unets[dtype] = weights.draw(self.model(dtype), "unet", device=self.device)
        return self._unets[dtype]

    def drop(self, dtype: str) -> None:
        """Gives the memory of a dtype's parameters back."""
        self._unets.pop(dtype, None)

    def full_call(self, dtype: str) -> FullCall:
        """Calls the U-Net of this size, and makes sure that its activations are as they should be.

        Raises:
          AssertionError: a block's RMS is out of bounds; see `weights.check_rms`.
        """
        if dtype not in self._calls:
            model, params = self.model(dtype), self.unet(dtype)
            latents, context = weights.inputs(model, self.size, ROWS_OF_CHECK, device=self.device)
            measure = functools.partial(weights.denoise_with_rms, model)
            call = timing.compile_program(measure, params, latents, context).call
            output, rms = call(params, latents, context)
            bounds = weights.check_rms(jax.device_get(rms))
            again, _ = call(params, latents, context)
            self._calls[dtype] = FullCall(np.asarray(output), np.asarray(again), bounds)
        return self._calls[dtype]

    @functools.cached_property
    def row_flops(self) -> float:
        """FLOPs of one row of the U-Net at one timestep, by `runtime.flops`."""
        return row_flops(weights.networks(self.size, "float32"), self.size.resolution)


def row_flops(model: StableDiffusion, resolution: int) -> float:
    """FLOPs of one row of a U-Net with plain attention: kernels would hide their products."""
    width = model.text_encoder.config.hidden_size
    latents = jax.ShapeDtypeStruct((1, *model.latent_shape(resolution)), jnp.float32)
    context = jax.ShapeDtypeStruct((1, model.num_tokens, width), model.dtype)
    return count_flops(model.denoise, abstract_params(model), latents, np.int32(1), context)

"""What a fine-tuning takes in operations and in bytes, before anything is read or compiled."""

import functools
from typing import NamedTuple

import jax
import numpy as np

from dreamda_jax.models.stable_diffusion.model import StableDiffusion, abstract_params
from dreamda_jax.options.finetune import Finetune
from dreamda_jax.runtime.flops import count_flops
from dreamda_jax.runtime.state import TrainState


class Cost(NamedTuple):
    """Of one job.

    Attributes:
      image_flops: of training the U-Net on one image.
      num_sheets: of pictures, over the whole training.
      sheet_flops: of one of them.
      num_bytes: that checkpoints and result may take on the disk.
    """

    image_flops: float
    num_sheets: int
    sheet_flops: float
    num_bytes: int

    def step_flops(self, job: Finetune) -> float:
        """Of a step, with its share of the pictures."""
        training = self.image_flops * job.batch_size * job.num_steps
        return (training + self.sheet_flops * self.num_sheets) / job.num_steps


def price(model: StableDiffusion, job: Finetune, state: TrainState, *, resolution: int) -> Cost:
    """Counts the operations of a job, and its bytes.

    Args:
      model: the networks.
      job: how they are trained.
      state: shapes of the training's state.
      resolution: side of the images.
    """
    return Cost(
        # Forward, backward for two, forward once more.
        image_flops=(4 if job.remat else 3) * _row_flops(model, resolution),
        num_sheets=num_sheets(job),
        sheet_flops=job.num_samples * picture_flops(model, job, resolution=resolution),
        num_bytes=disk_bytes(model, state),
    )


def picture_flops(model: StableDiffusion, job: Finetune, *, resolution: int) -> float:
    """Of one picture: two rows of the U-Net a step, for guidance, and the decoder."""
    latents = _latents(model, resolution)
    decoded = count_flops(model.decode_latents, abstract_params(model), latents)
    return 2 * job.sample_steps * _row_flops(model, resolution) + decoded


def num_parameters(state: TrainState) -> int:
    """That are trained."""
    return sum(leaf.size for leaf in jax.tree.leaves(state.params))


def num_sheets(job: Finetune) -> int:
    """Sheets of pictures over the whole training, that of step 0 included."""
    return 1 + -(-job.num_steps // job.steps_per_sheet) if job.num_samples else 0


def disk_bytes(model: StableDiffusion, state: TrainState) -> int:
    """Two checkpoints that are kept and one that is being written, and the result."""
    return 3 * _bytes(state) + 2 * _bytes(abstract_params(model))


@functools.lru_cache(maxsize=4)  # tracing the network takes seconds
def _row_flops(model: StableDiffusion, resolution: int) -> float:
    width = model.text_encoder.config.hidden_size
    context = jax.ShapeDtypeStruct((1, model.num_tokens, width), np.float32)
    latents = _latents(model, resolution)
    return count_flops(model.denoise, abstract_params(model), latents, np.int32(1), context)


def _latents(model: StableDiffusion, resolution: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((1, *model.latent_shape(resolution)), np.float32)


def _bytes(tree: object) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))

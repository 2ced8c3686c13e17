"""The loss of a fine-tuning step, as `runtime.step` takes it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dreamda_jax.algorithms.diffusion import denoising_loss, error_bands
from dreamda_jax.algorithms.diffusion.denoising_loss import Objective
from dreamda_jax.algorithms.diffusion.error_bands import Bands
from dreamda_jax.finetune.adaptation import Denoiser
from dreamda_jax.types import AnyArray, Context, Loss, Metrics, Params

NUM_BANDS = 5


class Batch(NamedTuple):
    """Rows of a global batch.

    Attributes:
      mean: of the VAE's posterior of each image, scaled; float32 [b, 4, h, w].
      std: likewise, its standard deviation; zeros where the mean is to be taken.
      text: context [b, l, d] or token ids int32 [b, l] of each image's prompt.
      rows: int32 [b], places in the global batch.
    """

    mean: AnyArray
    std: AnyArray
    text: AnyArray
    rows: AnyArray


def finetuning_loss(
    make_denoiser: Any, objective: Objective, empty: Context | None, *, prompt_dropout: float
) -> Loss:
    """The weighted squared error of a denoiser's prediction, the mean over a `Batch`.

    Args:
      make_denoiser: `make_denoiser(params) -> Denoiser`.
      objective: see `Objective`.
      empty: context [l, d] of the empty prompt, which stands in for a dropped one; None: no prompt
        is dropped.
      prompt_dropout: share of rows.

    Returns:
      A loss whose metric is the squared error without weights ("mse"); `method_state` (`Bands`)
      carries its moving average by band of timesteps.
    """
    num_timesteps = len(objective.weights)

    def loss(
        params: Params, batch_stats: Params, bands: Bands, key: jax.Array, batch: Batch
    ) -> tuple[jax.Array, tuple[Params, Bands, Metrics]]:
        denoiser: Denoiser = make_denoiser(params)
        keys = denoising_loss.row_keys(key, batch.rows)
        context = denoiser.encode(batch.text)
        if empty is not None:
            context = denoising_loss.drop_prompts(keys, context, empty, prompt_dropout)
        x0 = denoising_loss.draw_latents(keys, jnp.asarray(batch.mean), jnp.asarray(batch.std))
        rows = denoising_loss.add_training_noise(keys, x0, objective)
        errors, weights = denoising_loss.squared_errors(denoiser.denoise, rows, context, objective)
        bands = error_bands.add_rows(bands, errors, rows.timesteps, num_timesteps=num_timesteps)
        return jnp.mean(weights * errors), (batch_stats, bands, {"mse": jnp.mean(errors)})

    return loss


def band_metrics(bands: Bands, *, num_timesteps: int) -> Metrics:
    """The moving averages by their names: "mse_t000-199", …; NaN of a band that had no row yet."""
    averages = error_bands.means(bands)
    names = error_bands.names(NUM_BANDS, num_timesteps)
    return {f"mse_{name}": averages[place] for place, name in enumerate(names)}

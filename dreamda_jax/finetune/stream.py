"""Batches to fine-tune on, in one reproducible order.

Which image stands where, whether it is mirrored and which of its prompts it has are functions of
the number of images, the seed and the step alone; see `data.stream_order`.
"""

from collections.abc import Generator, Sequence

import numpy as np

from dreamda_jax.data.stream_order import StreamOrder, host_rows
from dreamda_jax.finetune.inputs import Latents
from dreamda_jax.finetune.loss import Batch

_FLIPS = 7  # sets the coins' numbers apart from those of the order


def finetuning_batches(
    latents: Latents,
    prompts: Sequence[Sequence[int]],
    text: np.ndarray,
    *,
    batch_size: int,
    seed: int,
    sample_posterior: bool,
    start_step: int,
    num_steps: int,
    host_index: int = 0,
    host_count: int = 1,
) -> Generator[Batch, None, None]:
    """The rows of steps `start_step` … `num_steps` - 1 that belong to this host.

    Args:
      latents: m images; half of the rows are mirrored where there are mirrored ones.
      prompts: for each of the m images the places of its prompts in `text`, taken in turn by
        epochs.
      text: [p, ...], contexts or token ids.
      batch_size: over all hosts.
      seed: any integer from 0.
      sample_posterior: False: standard deviations are 0.
      start_step: the first step.
      num_steps: of the whole training.
      host_index: of this host.
      host_count: of all.

    Yields:
      Batches of numpy arrays.
    """
    count = len(latents.places)
    order = StreamOrder(count, 0, None, seed)
    mine = np.asarray(host_rows(batch_size, host_index=host_index, host_count=host_count))
    for step in range(start_step, num_steps):
        coins = np.random.default_rng((seed, _FLIPS, step)).random(batch_size)[mine] < 0.5
        moments, chosen = [], []
        for row, coin in zip(mine, coins, strict=True):
            position = step * batch_size + int(row)
            place = order[position].index
            mirrored = latents.mirrored if coin else None
            moments.append((latents.upright if mirrored is None else mirrored)[place])
            own = prompts[place]
            chosen.append(own[position // count % len(own)])
        mean, std = np.moveaxis(np.stack(moments), 1, 0)
        if not sample_posterior:
            std = np.zeros_like(std)
        yield Batch(mean, std, np.asarray(text[np.asarray(chosen)]), mine.astype(np.int32))

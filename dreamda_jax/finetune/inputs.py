"""What the U-Net is trained on: latents and text embeddings, computed once and kept on the disk.

The VAE and the text encoder are frozen, so nothing of them is left in the training step but reading
rows: mean and standard deviation of each image's latents, of the image and of its mirror image (a
mirrored latent is not the latent of a mirrored image), and the context of each prompt.
"""

import functools
import hashlib
import json
import threading
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from dreamda_jax.data.feature_store import FeatureStore
from dreamda_jax.data.sources import Source
from dreamda_jax.data.stream_order import StreamOrder, host_rows
from dreamda_jax.finetune.loss import Batch
from dreamda_jax.models.stable_diffusion.model import StableDiffusion
from dreamda_jax.runtime import agreement, devices
from dreamda_jax.runtime.sweep import Channel, View, start_together, sweep, writes_features
from dreamda_jax.types import Params

_PROMPTS_PER_CALL = 8  # on each device


_FLIPS = 7  # sets the coins' numbers apart from those of the order


class Latents(NamedTuple):
    """Of the images that can be decoded.

    Attributes:
      upright: on the disk, float32 [m, 2, 4, h, w]: mean and standard deviation, scaled.
      mirrored: the same of the mirror images; None where none are wanted.
      places: int64 [m], of each row's image in its source.
      digest: sha256 (hex) of all images.
    """

    upright: np.ndarray
    mirrored: np.ndarray | None
    places: np.ndarray
    digest: str


def compute_latents(
    source: Source,
    model: StableDiffusion,
    params: Params,
    mesh: Mesh,
    *,
    digest: str,
    view: View,
    flip: bool,
    cache: Path,
    stop: threading.Event,
) -> Latents | None:
    """Encodes every image of a set, or finds its latents in the cache.

    Args:
      source: the set.
      model: with the VAE.
      params: {"vae": ...}, whole on every device.
      mesh: the devices, which share each batch.
      digest: of the VAE's weights and dtype.
      view: how images are read.
      flip: whether mirror images are wanted.
      cache: a directory; see `feature_store`.
      stop: ends it between two batches; what is done is kept.

    Returns:
      The latents, or None if `stop` was set.

    Raises:
      UserError: what reading the set or writing the cache raises.
    """
    shape = (2, *model.latent_shape(view.resolution))
    encode = jax.jit(functools.partial(_moments, model))

    def channel(name: str, mirrored: bool) -> Channel:
        def start(images: np.ndarray) -> jax.Array:
            seen = np.ascontiguousarray(images[:, :, ::-1]) if mirrored else images
            return encode(params, devices.global_rows(mesh, seen))

        return Channel(name, digest, shape, np.float32, start)

    channels = [channel("latents", False)]
    channels += [channel("latents_mirrored", True)] if flip else []
    swept = sweep(source, channels, view=view, cache=cache, stop=stop, note="latents")
    if swept is None:
        return None
    rows = [swept.features[each.name].values for each in channels]
    return Latents(rows[0], rows[1] if flip else None, swept.places, swept.digest)


def _moments(model: StableDiffusion, params: Params, images: jax.Array) -> jax.Array:
    return jnp.stack(model.encode_posterior(params, images), axis=1)


def compute_contexts(
    prompts: Sequence[str],
    model: StableDiffusion,
    params: Params,
    mesh: Mesh,
    *,
    digest: str,
    cache: Path,
    report: Callable[[int], None] = lambda count: None,
) -> np.ndarray:
    """The text encoder's context of each prompt, or what the cache has of them.

    Args:
      prompts: p different texts.
      model: with the text encoder.
      params: {"text_encoder": ...}, whole on every device.
      mesh: the devices.
      digest: of the text encoder's weights and dtype, and of the tokenizer.
      cache: a directory.
      report: is told of so many prompts more.

    Returns:
      On the disk, float32 [p, l, d].

    Raises:
      UserError: what writing the cache raises.
    """
    width = model.text_encoder.config.hidden_size
    store = FeatureStore(
        cache,
        "contexts",
        (hashlib.sha256(json.dumps(list(prompts)).encode()).hexdigest(), digest),
        num_images=len(prompts),
        shape=(model.num_tokens, width),
        dtype=np.float32,
        writes=writes_features(cache),
    )
    start_together([store])
    encode = jax.jit(lambda params, ids: model.encode_text(params, ids).astype(jnp.float32))
    size = _PROMPTS_PER_CALL * mesh.size
    for first in range(store.done, len(prompts), size):
        chunk = list(prompts[first : first + size])
        # Padded to the one compiled size.
        ids = model.tokenize(chunk + [""] * (size - len(chunk)))
        mine = devices.global_rows(mesh, devices.local_rows(ids))
        rows = devices.to_host(encode(params, mine))[: len(chunk)]
        places = np.arange(first, first + len(chunk))
        store.append(rows, places, done=first + len(chunk))
        store.save()
        report(len(chunk))
    agreement.barrier("contexts")
    return store.read().values


class PromptTable(NamedTuple):
    """The prompts of a set of images, each text once.

    Attributes:
      texts: all of them; the first is the empty prompt.
      of_image: for each image the places of its prompts in `texts`.
    """

    texts: list[str]
    of_image: list[list[int]]


def list_prompts(of_image: Sequence[Sequence[str]]) -> PromptTable:
    """Numbers the prompts of images."""
    numbers: dict[str, int] = {"": 0}
    places = [[numbers.setdefault(text, len(numbers)) for text in texts] for texts in of_image]
    return PromptTable(list(numbers), places)


def digest_of(*parts: Any) -> str:
    """Sha256 (hex) of what rows depend on."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


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

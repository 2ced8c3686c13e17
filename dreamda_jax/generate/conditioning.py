"""What the variants of a run are made under: prompts, or embeddings that are learnt first."""

import contextlib
import threading
from collections.abc import Callable, Generator, Sequence

import numpy as np

from dreamda_jax.data import loader
from dreamda_jax.data.loader import Seed
from dreamda_jax.data.sources import Source
from dreamda_jax.errors import UserError
from dreamda_jax.generate import conditions, learned
from dreamda_jax.generate.build import Making
from dreamda_jax.models.stable_diffusion.model import StableDiffusion
from dreamda_jax.options.synthesis import Image
from dreamda_jax.runtime.progress import Progress
from dreamda_jax.synthesis.method import Learning
from dreamda_jax.synthesis.pipeline import DreamDAPipeline
from dreamda_jax.types import Params


def load_seeds(
    source: Source, image: Image, ids: list[int], *, num_workers: int = 0
) -> Generator[Seed, None, None]:
    """Those seed images of a run, decoded ahead; see `loader.load_seeds`."""
    return loader.load_seeds(
        source,
        ids,
        resolution=image.resolution,
        crop=image.crop,
        num_workers=num_workers,
    )


def open_conditions(
    making: Making,
    pipeline: DreamDAPipeline,
    params: Params,
    keys: np.ndarray,
    *,
    mine: Sequence[int] | None,
    stop: threading.Event,
    refresh: Callable[[], None],
) -> conditions.Conditions | None:
    """What variants are made under.

    Args:
      making: what the run makes.
      pipeline: its model, which encodes prompts.
      params: parameters on the devices.
      keys: of all seeds, uint32 [seeds, 2].
      mine: the shards of this process, whose embeddings it learns first; None: all.
      stop: when set, learning ends between two calls.
      refresh: see `learned.Job`.

    Returns:
      Prompts, or embeddings that were learnt before or are now; None if `stop` was set.

    Raises:
      UserError: the disk is full, or learning diverged.
    """
    learning = making.method.learning
    if learning is not None:
        return _learned(
            *(making, learning, pipeline.model, params, keys),
            mine=mine,
            stop=stop,
            refresh=refresh,
        )
    return conditions.Prompts(
        pipeline.embeddings(params),
        making.choose_prompt,
        source_prompt=making.method.source_prompt,
        num_variants=making.synthesis.num_variants,
    )


def _learned(
    making: Making,
    method: Learning,
    model: StableDiffusion,
    params: Params,
    keys: np.ndarray,
    *,
    mine: Sequence[int] | None,
    stop: threading.Event,
    refresh: Callable[[], None],
) -> conditions.LearnedEmbeddings | None:
    layout, shape = making.layout, method.embedding_shape(model)
    store = learned.Store(layout, shape)
    every = range(layout.num_shards)
    own = every if mine is None else mine
    todo = store.missing([*own, *reversed([shard for shard in every if shard not in set(own)])])
    steps = sum(len(layout.seed_ids(shard)) for shard in todo) * method.learning_steps
    total = layout.num_seeds * method.learning_steps
    with contextlib.closing(Progress(total, total - steps, unit="step")) as progress:
        job = learned.Job(
            learner=learned.Learner(model, params, method),
            layout=layout,
            shape=shape,
            keys=keys,
            load=lambda ids: load_seeds(making.source, making.image, ids),
            seeds_per_device=making.synthesis.seeds_per_device,
            refresh=refresh,
            report=lambda count, loss: progress.add(
                count, note="learning embeddings" + ("" if loss is None else f", loss {loss:.3f}")
            ),
        )
        if not learned.learn_missing(job, store, todo, stop=stop):
            return None
    found = [store.read(shard) for shard in every]
    if any(rows is None for rows in found):
        raise UserError(
            f"learned embeddings below {layout.directory} were removed or changed while this run "
            "used them. Run the same command again: it learns what is missing"
        )
    labels = np.array([making.source[index].label for index in range(layout.num_seeds)])
    alone = [
        name for label, name in enumerate(making.source.label_names) if np.sum(labels == label) == 1
    ]
    if alone:
        print(
            f"note      classes of one image, whose variants are moved towards no other: "
            f"{', '.join(alone[:5])}{', …' if len(alone) > 5 else ''}"
        )
    return conditions.LearnedEmbeddings(
        np.concatenate([rows for rows in found if rows is not None]),
        labels,
        keys,
        interpolation=method.interpolation,
        num_variants=making.synthesis.num_variants,
    )

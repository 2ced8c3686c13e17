"""Learns an embedding of every seed image, shard by shard, and keeps them beside the data set.

    DIR/learned/00003-of-00025.safetensors    embeddings float32 [seeds of the shard, l, d]

The unit of work and of resumption is the shard of the data set. Each process learns those of its
own shards first and then what is still missing of the others', the last first: so nobody waits, and
a host that is lost leaves its work to whoever comes by. What two of them learn at once comes out
the same (on GPUs nearly), and the first file stays.
"""

import contextlib
import dataclasses
import math
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import jax
import numpy as np
import safetensors
import safetensors.numpy

from dreamda_jax.data.files import atomic
from dreamda_jax.data.files.digests import sha256_of_bytes
from dreamda_jax.data.loader import Seed
from dreamda_jax.data.sets.shards import Layout
from dreamda_jax.errors import UserError
from dreamda_jax.generate.batches import Batch, make_batches
from dreamda_jax.models.stable_diffusion.model import StableDiffusion
from dreamda_jax.runtime import devices as mesh
from dreamda_jax.synthesis.diffusion_inversion import State
from dreamda_jax.synthesis.method import Learning
from dreamda_jax.types import Params

_NAME = "embeddings"


class Store:
    """The files of learned embeddings.

    Args:
      layout: of the data set they belong to.
      shape: (l, d) of an embedding.
    """

    def __init__(self, layout: Layout, shape: tuple[int, int]) -> None:
        self._layout, self._shape = layout, shape

    def path(self, shard: int) -> Path:
        """The file of a shard."""
        return (
            self._layout.directory
            / "learned"
            / (f"{shard:05d}-of-{self._layout.num_shards:05d}.safetensors")
        )

    def read(self, shard: int) -> np.ndarray | None:
        """Float32 [seeds of the shard, l, d], NaN for a broken image; None if not there whole."""
        try:
            with safetensors.safe_open(self.path(shard), "numpy") as file:
                checksum, found = (file.metadata() or {}).get("sha256"), file.get_tensor(_NAME)
        except (OSError, safetensors.SafetensorError):
            return None
        expected = (len(self._layout.seed_ids(shard)), *self._shape)
        whole = found.shape == expected and checksum == sha256_of_bytes(found.tobytes())
        return found if whole else None

    def write(self, shard: int, embeddings: np.ndarray) -> None:
        """Writes one shard.

        Raises:
          UserError: the disk is full.
        """
        path = self.path(shard)
        metadata = {"sha256": sha256_of_bytes(embeddings.tobytes())}
        data = safetensors.numpy.save({_NAME: embeddings}, metadata=metadata)
        with atomic.disk_full_is_a_user_error(path.parent, needed=len(data)):
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic.write_atomically(path, data)

    def missing(self, shards: Iterable[int]) -> list[int]:
        """Of these shards those that are not there whole."""
        return [shard for shard in shards if self.read(shard) is None]


class Learner:
    """The compiled programs that learn the embeddings of a batch.

    Args:
      model: the networks.
      params: its parameters, on every local device.
      method: what is learnt, and how.
    """

    def __init__(self, model: StableDiffusion, params: Params, method: Learning) -> None:
        self.method = method
        self._params = params
        self._start = mesh.map_devices(
            lambda params, images, keys: method.start(model, params, images, keys),
            (mesh.WHOLE, mesh.ROWS, mesh.ROWS),
            results=_parts(method),
        )
        self._learn = mesh.map_devices(
            lambda params, state, keys, step: method.learn(model, params, state, keys, step),
            (mesh.WHOLE, _parts(method), mesh.ROWS, mesh.WHOLE),
            results=_parts(method),
            donate=(1,),
        )

    def learn(
        self,
        images: np.ndarray,
        keys: np.ndarray,
        *,
        stop: threading.Event,
        report: Callable[[int, np.ndarray], None],
    ) -> np.ndarray | None:
        """Embeddings of images; None if `stop` was set on the way.

        Args:
          images: uint8 [devices · b, h, w, 3]: always as many, so that one program serves all.
          keys: the seeds', uint32 [devices · b, 2].
          stop: looked at between two calls of the program.
          report: hears after each call how many steps it was, and each image's mean loss.
        """
        state: State = self._start(self._params, images, keys)
        each = self.method.steps_per_call
        for first in range(0, self.method.learning_steps, each):
            if stop.is_set():
                return None
            state = self._learn(self._params, state, keys, np.int32(first))
            report(each, mesh.to_host(state.losses))
        return mesh.to_host(state.embeddings)


def _parts(method: Learning) -> State:
    """Of a state on several devices: the optimizer counts for all of them, the rest is rows."""
    one = jax.ShapeDtypeStruct((1,), np.float32)
    moments = jax.tree.map(
        lambda leaf: mesh.ROWS if leaf.shape else mesh.WHOLE,
        jax.eval_shape(method.optimizer().init, one),
    )
    return State(mesh.ROWS, moments, mesh.ROWS, mesh.ROWS, mesh.ROWS)


@dataclasses.dataclass(frozen=True)
class Job:
    """Whose embeddings are learnt.

    Attributes:
      learner: the programs.
      layout: of the data set.
      shape: (l, d) of an embedding.
      keys: of all seeds, uint32 [seeds, 2].
      load: `load(seed ids)`: those seeds in order.
      seeds_per_device: images that one device learns together.
      report: hears of progress, in steps of single images, and of the mean loss of the last.
      refresh: brings here what other hosts have learnt, where no directory is shared.
    """

    learner: Learner
    layout: Layout
    shape: tuple[int, int]
    keys: np.ndarray
    load: Callable[[list[int]], Iterator[Seed]]
    seeds_per_device: int
    report: Callable[[int, float | None], None]
    refresh: Callable[[], None] = lambda: None


def learn_missing(job: Job, store: Store, todo: list[int], *, stop: threading.Event) -> bool:
    """Learns the embeddings of shards; writes each once all its seeds are learnt.

    Args:
      job: whose.
      store: where to.
      todo: the shards, in this order; what is there when its turn comes is left.
      stop: when set, the shards under way are given up.

    Returns:
      Whether all were done.

    Raises:
      UserError: the disk is full, or learning diverged.
    """
    # As many shards at a time as fill all devices with groups.
    groups = -(-job.layout.seeds_per_shard // job.seeds_per_device)
    devices = mesh.local_device_count()
    together = devices // math.gcd(devices, groups)
    for start in range(0, len(todo), together):
        job.refresh()
        shards = todo[start : start + together]
        missing = store.missing(shards)
        for shard in set(shards) - set(missing):  # another process was quicker
            job.report(len(job.layout.seed_ids(shard)) * job.learner.method.learning_steps, None)
        if missing and not _learn_shards(job, store, missing, stop):
            return False
    return True


def _learn_shards(job: Job, store: Store, shards: list[int], stop: threading.Event) -> bool:
    # In order, as groups of a shard that is not full end with the seeds.
    shards = sorted(shards)
    ids = [index for shard in shards for index in job.layout.seed_ids(shard)]
    learnt = dict.fromkeys(ids, np.full(job.shape, np.nan, np.float32))
    with contextlib.closing(job.load(ids)) as seeds:  # type: ignore[type-var]
        batches = make_batches(
            seeds,
            seeds_per_device=job.seeds_per_device,
            seeds_per_shard=job.layout.seeds_per_shard,
            devices=mesh.local_device_count(),
        )
        for batch in batches:
            made = _learn_batch(job, batch, stop) if batch.usable else None
            if made is not None:
                learnt |= {s.index: made[row] for row, s in enumerate(batch.slots) if s is not None}
            elif batch.usable:
                return False
            else:
                job.report(len(batch.seeds) * job.learner.method.learning_steps, None)
            while shards and job.layout.seed_ids(shards[0])[-1] <= batch.seeds[-1].index:
                _write(job, store, shards.pop(0), learnt)
    return True


def _write(job: Job, store: Store, shard: int, learnt: dict[int, np.ndarray]) -> None:
    # Not over another process's, which somebody may have read already: kernels of a GPU need not
    # add up in the same order twice.
    if store.read(shard) is None:
        store.write(shard, np.stack([learnt[index] for index in job.layout.seed_ids(shard)]))


def _learn_batch(job: Job, batch: Batch, stop: threading.Event) -> np.ndarray | None:
    """Embeddings of a batch's slots, those of empty ones included."""
    rows = mesh.local_device_count() * job.seeds_per_device
    first = batch.usable[0].pixels
    assert first is not None
    images, keys = np.zeros((rows, *first.shape), np.uint8), np.zeros((rows, 2), np.uint32)
    for row, seed in enumerate(batch.slots):
        if seed is not None:
            images[row], keys[row] = seed.pixels, job.keys[seed.index]

    slots = [row for row, seed in enumerate(batch.slots) if seed is not None]

    def report(count: int, losses: np.ndarray) -> None:
        _refuse_diverged(losses[slots])
        job.report(len(batch.seeds) * count, float(np.mean(losses[slots])))

    made = job.learner.learn(images, keys, stop=stop, report=report)
    if made is not None:
        _refuse_diverged(made[slots])
    return made


def _refuse_diverged(numbers: np.ndarray) -> None:
    if not np.isfinite(numbers).all():
        raise UserError(
            "learning the images' embeddings diverged: they are not finite numbers. Use a smaller "
            "--config.method.learning_rate, or --config.model.dtype=float32"
        )

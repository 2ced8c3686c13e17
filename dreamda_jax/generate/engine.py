"""Seeds in, finished shards out, with the devices never waiting for the host.

Three things run side by side: Grain decodes the next seeds, the devices compute up to two batches
that were dispatched ahead, and a thread fetches the oldest one, encodes its images and writes
shards. Batches run across shard borders, so a shard's size does not have to fit the number of
devices.
"""

import dataclasses
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import jax
import numpy as np

from dreamda_jax.data.loader import Seed
from dreamda_jax.data.sets import records, shards
from dreamda_jax.errors import UserError
from dreamda_jax.generate.batches import Batch, make_batches
from dreamda_jax.generate.conditions import Conditions
from dreamda_jax.generate.statistics import Statistics
from dreamda_jax.runtime import devices, program_notes
from dreamda_jax.runtime.heartbeat import Compiling
from dreamda_jax.synthesis.method import Method, Outputs
from dreamda_jax.synthesis.pipeline import DreamDAPipeline
from dreamda_jax.types import Params

_BATCHES_AHEAD = 2
_ENCODER_THREADS = 4


@dataclasses.dataclass(frozen=True)
class Job:
    """What to make and how to write it.

    Attributes:
      pipeline: the model with its compiled programs.
      params: its parameters, on the devices.
      method: how variants are made.
      layout: the output's shards.
      label_names: class names by label.
      conditions: what variants are made under.
      keys: of all seeds, uint32 [seeds, 2] (`keys.seed_keys`).
      num_variants: n, variants of each seed image.
      seeds_per_device: b, seed images in one call of the program on one device.
      image_format: "png" or "jpeg".
      image_quality: 1 to 95, for JPEG.
      notes: of the program.
    """

    pipeline: DreamDAPipeline
    params: Params
    method: Method
    layout: shards.Layout
    label_names: tuple[str, ...]
    conditions: Conditions
    keys: np.ndarray
    num_variants: int
    seeds_per_device: int
    image_format: records.ImageFormat
    image_quality: int
    notes: program_notes.ProgramNotes = program_notes.NONE


class Report(Protocol):
    """What hears of a run's progress; called from the writing thread."""

    def images(self, count: int) -> None:
        """So many more are done, those of broken seeds included."""

    def shard(self, made: list[records.Record], seeds: dict[int, Seed]) -> None:
        """A shard is on the disk."""


def make_shards(
    job: Job,
    seeds: Iterator[Seed],
    *,
    stop: threading.Event,
    report: Report,
) -> Statistics:
    """Makes every variant of `seeds` and writes each shard once all its seeds have come.

    Args:
      job: what to make.
      seeds: in the order of the shards to be made, none left out; broken ones carry `error`.
      stop: when set, no further batch is started; those under way are finished.
      report: hears of every batch and shard.

    Raises:
      UserError: the disk is full, or the network's output is not a number.
    """
    return _Engine(job, stop, report).run(seeds)


class _Engine:
    def __init__(self, job: Job, stop: threading.Event, report: Report) -> None:
        self._job, self._stop, self._report = job, stop, report
        self._statistics = Statistics()
        self._collector = _Collector(job.layout)
        self._idle_since: float | None = None

    def run(self, seeds: Iterator[Seed]) -> Statistics:
        batches = make_batches(
            seeds,
            seeds_per_device=self._job.seeds_per_device,
            seeds_per_shard=self._job.layout.seeds_per_shard,
            devices=devices.local_device_count(),
        )
        under_way: deque[Future[None]] = deque()
        compiling = Compiling("the sampling program", self._job.notes)
        with (
            ThreadPoolExecutor(_ENCODER_THREADS, "encode") as encoders,
            ThreadPoolExecutor(1, "write") as writer,
            ThreadPoolExecutor(1, "watch") as watcher,
        ):
            for batch in self._request_contexts(batches):
                if self._stop.is_set():
                    break
                while len(under_way) >= _BATCHES_AHEAD:
                    under_way.popleft().result()
                with compiling():
                    outputs = self._dispatch(batch) if batch.usable else None
                # A thread of its own notes when the devices are done: the writing one may be
                # behind, and would miss the time in which they waited for it.
                timed = watcher.submit(
                    self._time, outputs, time.monotonic(), seeds=len(batch.usable)
                )
                under_way.append(writer.submit(self._finish, batch, outputs, timed, encoders))
            for future in under_way:
                future.result()
        return self._statistics

    def _request_contexts(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The same batches; each one's prompts are encoded while those before it are computed."""
        waiting: deque[Batch] = deque()
        for batch in batches:
            self._job.conditions.request(batch.usable)
            waiting.append(batch)
            if len(waiting) > _BATCHES_AHEAD:
                yield waiting.popleft()
        yield from waiting

    def _dispatch(self, batch: Batch) -> Outputs:
        job = self._job
        found = job.conditions.get(batch.usable)
        # Rows of empty slots are computed like the others and thrown away.
        first = batch.usable[0].pixels
        assert first is not None
        images = np.zeros((len(batch.slots), *first.shape), np.uint8)
        shape = (len(batch.slots), job.num_variants, *found.empty.shape)
        contexts = np.empty(shape, found.empty.dtype)
        contexts[:] = found.empty
        keys = np.zeros((len(batch.slots), 2), np.uint32)
        for row, seed in enumerate(batch.slots):
            if seed is not None and seed.pixels is not None:
                images[row], keys[row] = seed.pixels, job.keys[seed.index]
                contexts[row] = found.of_seeds[seed.index]
        return job.pipeline.dispatch(
            job.params,
            job.method,
            images=images,
            contexts=contexts,
            source_context=found.source,
            empty_context=found.empty,
            keys=keys,
            variants=np.arange(job.num_variants),
            seeds_per_device=job.seeds_per_device,
        )

    def _finish(
        self,
        batch: Batch,
        outputs: Outputs | None,
        timed: Future[None],
        encoders: ThreadPoolExecutor,
    ) -> None:
        """Fetches a batch, encodes it and writes the shards it completes; in the writing thread."""
        n = self._job.num_variants
        made_of: dict[int, list[bytes]] = {}
        if outputs is not None:
            timed.result()
            made = self._job.pipeline.collect(outputs, len(batch.slots))
            self._check(made.site_rms)
            images = made.images[[slot is not None for slot in batch.slots]]
            encoded = list(encoders.map(self._encode, images.reshape(-1, *images.shape[2:])))
            for i, seed in enumerate(batch.usable):
                made_of[seed.index] = encoded[i * n : (i + 1) * n]
        for seed in batch.seeds:
            self._statistics.enlarged += seed.enlarged
            self._statistics.narrow += seed.narrow
            complete = self._collector.add(seed, self._records(seed, made_of.get(seed.index, [])))
            if complete is not None:
                shard, made_records, its_seeds = complete
                skipped = [
                    shards.Skipped(s.index, s.name, s.error) for s in its_seeds.values() if s.error
                ]
                shards.write_shard(self._job.layout, shard, made_records, skipped)
                self._statistics.kept += len(made_records)
                self._report.shard(made_records, its_seeds)
        self._report.images(len(batch.seeds) * n)

    def _encode(self, pixels: np.ndarray) -> bytes:
        job = self._job
        return records.encode_image(
            pixels, image_format=job.image_format, quality=job.image_quality
        )

    def _records(self, seed: Seed, images: list[bytes]) -> list[records.Record]:
        job = self._job
        high, low = (int(part) for part in job.keys[seed.index])
        return [
            records.Record(
                image=image,
                label=seed.label,
                label_name=job.label_names[seed.label],
                seed_id=seed.index,
                seed_name=seed.name,
                variant=variant,
                prompt=job.conditions.text(seed, variant),
                method=job.method.name,
                key=(high, low),
            )
            for variant, image in enumerate(images)
        ]

    def _time(self, outputs: Outputs | None, dispatched_at: float, *, seeds: int) -> None:
        """Waits until the devices have made a batch; in the watching thread."""
        if outputs is None:
            return
        jax.block_until_ready(outputs)
        ready_at = time.monotonic()
        statistics, images = self._statistics, seeds * self._job.num_variants
        if self._idle_since is not None:
            # The devices were free from the end of the last batch until this one was dispatched.
            statistics.device_wait_seconds += max(0.0, dispatched_at - self._idle_since)
            statistics.seconds += ready_at - self._idle_since
            statistics.images_in_seconds += images
        self._idle_since = ready_at
        statistics.images += images
        statistics.batches += 1

    def _check(self, site_rms: float) -> None:
        if not np.isfinite(site_rms):
            raise UserError(
                "the network's features or latents are not finite: nothing of this batch was "
                "written. Use --config.model.dtype=float32, or smaller numbers in section method "
                "(guidance, noise)"
            )
        self._statistics.mean_square += site_rms**2


class _Collector:
    """Holds finished seeds until their shard is complete."""

    def __init__(self, layout: shards.Layout) -> None:
        self._layout = layout
        self._open: dict[int, dict[int, tuple[Seed, list[records.Record]]]] = {}

    def add(
        self, seed: Seed, made: list[records.Record]
    ) -> tuple[int, list[records.Record], dict[int, Seed]] | None:
        """Adds a seed; returns its shard, all records and all seeds if that completes it."""
        shard = seed.index // self._layout.seeds_per_shard
        held = self._open.setdefault(shard, {})
        held[seed.index] = (seed, made)
        if len(held) < len(self._layout.seed_ids(shard)):
            return None
        del self._open[shard]
        in_order = [held[index] for index in sorted(held)]
        every = [record for _, seed_records in in_order for record in seed_records]
        return shard, every, {seed.index: seed for seed, _ in in_order}

"""Runs a set through networks once, and keeps a row for each image on the disk."""

import contextlib
import functools
import threading
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dreamda_jax.data import content, sources
from dreamda_jax.data.evaluation_stream import EvaluationBatch, evaluation_batches
from dreamda_jax.data.feature_store import Features, FeatureStore
from dreamda_jax.data.sources.subset import Subset
from dreamda_jax.data.transforms import Crop
from dreamda_jax.errors import UserError
from dreamda_jax.runtime import agreement, devices, forecast, program_notes
from dreamda_jax.runtime.heartbeat import Compiling
from dreamda_jax.runtime.progress import Progress

_SAVE_EVERY = 16  # batches; a stop loses less


class Channel(NamedTuple):
    """What is taken of every image.

    Attributes:
      name: such as "inception".
      digest: of everything the rows depend on besides the images.
      shape: of a row.
      dtype: of a row.
      start: uint8 [b, h, w, 3] of this host -> its rows (numpy), or those of all hosts as an array
        on the devices that may still be computed.
    """

    name: str
    digest: str
    shape: tuple[int, ...]
    dtype: Any
    start: Callable[[np.ndarray], Any]


class View(NamedTuple):
    """How images are read.

    Attributes:
      resolution: side of the squares they become.
      crop: how; see `transforms.decode_image`.
      batch_size: over all devices, which divide it.
      num_workers: processes that decode; 0 decodes in threads of this one.
    """

    resolution: int
    crop: Crop
    batch_size: int
    num_workers: int

    def batches(self, source: sources.Source) -> Generator[EvaluationBatch, None, None]:
        """A whole set in its order: the rows of each batch that belong to this host."""
        return evaluation_batches(
            source,
            batch_size=self.batch_size,
            resolution=self.resolution,
            crop=self.crop,
            num_workers=self.num_workers,
            host_index=devices.process_index(),
            host_count=devices.process_count(),
        )


class Swept(NamedTuple):
    """A set whose features are known.

    Attributes:
      source: the set.
      labels: int32 [n].
      features: by channel; rows of images that cannot be decoded are left out of each alike.
      broken: how many those are.
      digest: sha256 (hex) of all images; see `content`.
    """

    source: sources.Source
    labels: np.ndarray
    features: dict[str, Features]
    broken: int
    digest: str

    @property
    def places(self) -> np.ndarray:
        """int64 [m], of the images that have rows."""
        return next(iter(self.features.values())).places

    @property
    def row_labels(self) -> np.ndarray:
        """int32 [m], of the images that have rows."""
        return self.labels[self.places]


def sweep(
    source: sources.Source,
    channels: Sequence[Channel],
    *,
    view: View,
    cache: Path,
    stop: threading.Event,
    note: str,
    notes: program_notes.ProgramNotes = program_notes.NONE,
) -> Swept | None:
    """Takes every channel of every image, or finds it in the cache.

    Args:
      source: the set.
      channels: what to take.
      view: how images are read.
      cache: see `feature_store`.
      stop: ends it between two batches; what is done is kept.
      note: shown in the progress.
      notes: of the networks.

    Returns:
      The features, or None if `stop` was set.

    Raises:
      UserError: what reading the set or writing the cache raises.
    """
    with contextlib.closing(Progress(len(source))) as progress:
        held = content.read_content(
            source, report=functools.partial(progress.add, note=f"{note}: read")
        )
    writes = writes_features(cache)
    stores = [
        FeatureStore(
            cache,
            channel.name,
            (held.digest, channel.digest, view.resolution, view.crop),
            num_images=len(source),
            shape=channel.shape,
            dtype=channel.dtype,
            writes=writes,
        )
        for channel in channels
    ]
    start_together(stores)
    if not _fill(source, channels, stores, view=view, stop=stop, note=note, notes=notes):
        return None
    agreement.barrier("features")
    features = {store.name: store.read() for store in stores}
    rows = len(next(iter(features.values())).places)
    return Swept(source, held.labels, features, len(source) - rows, held.digest)


def writes_features(cache: Path) -> bool:
    """Whether this process writes its stores: one where all share a cache, else each its own."""
    shared = agreement.is_shared(cache)  # asks all of them
    return devices.process_index() == 0 or not shared


def start_together(stores: Sequence[FeatureStore]) -> None:
    """Makes all hosts of a job begin at the same place; from the start if their caches differ."""
    done = [store.done for store in stores]
    if not agreement.all_of(agreement.of_first(done) == done):
        for store in stores:
            store.restart()


def _fill(
    source: sources.Source,
    channels: Sequence[Channel],
    stores: Sequence[FeatureStore],
    *,
    view: View,
    stop: threading.Event,
    note: str,
    notes: program_notes.ProgramNotes,
) -> bool:
    todo = [pair for pair in zip(channels, stores, strict=True) if not pair[1].finished]
    if not todo:
        return True
    first = min(store.done for _, store in todo)
    rest = Subset(source, range(first, len(source)))
    with (
        contextlib.closing(
            Progress(len(source), done=first, hint_for_long=forecast.hint_for_long())
        ) as progress,
        contextlib.closing(view.batches(rest)) as batches,
    ):
        pending: list[Callable[[], None]] = []
        compiling = Compiling("the networks that look at images", notes)
        for number, batch in enumerate(batches):
            if stop.is_set():
                break
            with compiling():
                started = [_started(source, *each, batch, first) for each in todo]
            # The devices work on this batch while the rows of the one before are written.
            for finish in pending:
                finish()
            pending = started
            for message in batch.broken:
                print(f"left out    {message}", flush=True)
            if number % _SAVE_EVERY == 0:
                _save(todo)
            progress.add(min(view.batch_size, len(rest) - number * view.batch_size), note=note)
        for finish in pending:
            finish()
        if progress.seconds_each is not None:
            notes.put(seconds_each=progress.seconds_each)
    _save(todo)
    return all(store.finished for store in stores)


def _started(
    source: sources.Source,
    channel: Channel,
    store: FeatureStore,
    batch: EvaluationBatch,
    first: int,
) -> Callable[[], None]:
    started = channel.start(batch.images)

    def finish() -> None:
        # Of all hosts, whose rows are one after the other.
        here = isinstance(started, np.ndarray)
        made = agreement.gather_rows(started) if here else devices.to_host(started)
        index, mask = agreement.gather_rows(batch.index), agreement.gather_rows(batch.mask)
        places = index + first
        # Of channels that were stopped at different places, some know a part of the batch.
        mine = (index >= 0) & (places >= store.done)
        if not mine.any():
            return
        kept = mine & mask
        rows = made[kept]
        if rows.dtype.kind == "f" and not np.isfinite(rows).all():
            bad = int(np.argmin(np.isfinite(rows).all(axis=1)))
            raise UserError(
                f"{channel.name}: the features of {source[int(places[kept][bad])].name} are not "
                "finite numbers. The network's weights are damaged, or are not those of this "
                "network: give others."
            )
        store.append(rows, places[kept], done=int(places[mine].max()) + 1)

    return finish


def _save(todo: Sequence[tuple[Channel, FeatureStore]]) -> None:
    for _, store in todo:
        if store.done:
            store.save()

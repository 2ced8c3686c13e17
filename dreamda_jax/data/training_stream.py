"""Batches to train a classifier on: real and synthetic images in one reproducible stream.

Which image stands where in the stream is a function of the sets' lengths, the ratio and the seed
alone (`stream_order`). Global batch k is the places k·B … (k+1)·B - 1, of which each host reads its
own rows, so the stream is the same on any number of hosts, and starting at step k costs nothing.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Generator
from typing import NamedTuple

import numpy as np

from dreamda_jax.data.loader import LabelledImage, ReadImage
from dreamda_jax.data.read_ahead import read_ahead
from dreamda_jax.data.sources import Source, classes
from dreamda_jax.data.stream_order import Place, StreamOrder, host_rows
from dreamda_jax.data.transforms import Crop
from dreamda_jax.errors import UserError

_MAX_CACHED_BYTES = 256 * 2**20


class Batch(NamedTuple):
    """One host's rows of a global batch."""

    images: np.ndarray
    """uint8 [rows, resolution, resolution, 3], sRGB 0..255."""
    labels: np.ndarray
    """int32 [rows]."""
    synthetic: np.ndarray
    """bool [rows]: whether the image is of the synthetic set."""
    index: np.ndarray  # type: ignore[assignment]  # hides tuple.index, which nobody calls here
    """int64 [rows]: the image's place in its source."""
    replaced: tuple[str, ...]
    """"name: reason" of images met for the first time that cannot be decoded."""


def training_batches(
    real: Source | None,
    synthetic: Source | None,
    *,
    synthetic_ratio: float | None,
    batch_size: int,
    seed: int,
    start_step: int,
    num_steps: int,
    host_index: int = 0,
    host_count: int = 1,
    resolution: int,
    crop: Crop,
    num_workers: int = 0,
    num_threads: int = 2,
    prefetch: int = 4,
) -> Generator[Batch, None, None]:
    """Reads, decodes and batches the images of steps `start_step` … `num_steps` - 1.

    An image that cannot be decoded is replaced by the next good one of its source. Closing the
    iterator early stops the threads and worker processes, whose number does not change the result.
    In threads, a set of up to 256 MB of pixels is decoded only once.

    Args:
      real: the real images, or None to train on synthetic ones only.
      synthetic: the synthetic images, or None; labels as in `real` (`classes.match_classes`).
      synthetic_ratio: the share of synthetic images in (0, 1), or None to show every image of both
        sets once an epoch; see `stream_order.StreamOrder`.
      batch_size: B, over all hosts; `host_count` must divide it.
      seed: any integer from 0; decides the order.
      start_step: the first step to read: 0, or where an earlier run stopped.
      num_steps: the number of steps of the whole run, those before `start_step` included.
      host_index: of this host; it gets rows host_index·B/n … (host_index + 1)·B/n - 1.
      host_count: n.
      resolution: side of the square images.
      crop: "center" or "squash"; see `transforms.decode_image`.
      num_workers: reading processes; 0 reads in threads of this process.
      num_threads: threads in each process; each works on a batch of its own.
      prefetch: how many batches to work on or hold ready, over all processes.

    Yields:
      `num_steps` - `start_step` batches of B/n rows.

    Raises:
      UserError: a set without images or without one that can be decoded, or a label that names no
        class.
      ValueError: no source, class names that differ, or a number outside of its range.
    """
    given = [source for source in (real, synthetic) if source is not None]
    if not given:
        raise ValueError("there is neither a real nor a synthetic set")
    if not classes.same_classes(given[0].label_names, given[-1].label_names):
        raise ValueError("the sets' class names differ; see classes.match_classes")
    if not 0 <= start_step <= num_steps:
        raise ValueError(f"start_step {start_step} of {num_steps} steps")
    for source in given:
        classes.check_labels(source)
    cached = num_workers == 0 and sum(map(len, given)) * resolution**2 * 3 <= _MAX_CACHED_BYTES
    real_image, synthetic_image = (
        None if source is None else _read(source, resolution, crop, cached=cached)
        for source in (real, synthetic)
    )
    make_batch = _MakeBatch(
        order=_order(real, synthetic, synthetic_ratio, seed=seed),
        real_image=real_image,
        synthetic_image=synthetic_image,
        batch_size=batch_size,
        rows=host_rows(batch_size, host_index=host_index, host_count=host_count),
    )
    return _report_once(
        read_ahead(
            make_batch,
            range(start_step, num_steps),
            num_workers=num_workers,
            num_threads=num_threads,
            prefetch=prefetch,
        )
    )


def epoch_length(real: Source | None, synthetic: Source | None, ratio: float | None) -> int:
    """Images in one epoch of the stream of these sets; see `StreamOrder.epoch_length`."""
    return _order(real, synthetic, ratio, seed=0).epoch_length


def _order(
    real: Source | None, synthetic: Source | None, ratio: float | None, *, seed: int
) -> StreamOrder:
    num_real, num_synthetic = (0 if source is None else len(source) for source in (real, synthetic))
    return StreamOrder(num_real, num_synthetic, ratio, seed)


_Read = Callable[[int], LabelledImage]


def _read(source: Source, resolution: int, crop: Crop, *, cached: bool) -> _Read:
    read = ReadImage(source, resolution, crop)
    return functools.lru_cache(maxsize=None)(read) if cached else read


class _Row(NamedTuple):
    place: Place
    label: int
    pixels: np.ndarray


@dataclasses.dataclass(frozen=True)
class _MakeBatch:
    """Step -> this host's rows of that step's batch."""

    order: StreamOrder
    real_image: _Read | None
    synthetic_image: _Read | None
    batch_size: int
    rows: range

    def __call__(self, step: int) -> Batch:
        broken: list[str] = []
        first = step * self.batch_size
        rows = [self._row(self.order[first + row], broken) for row in self.rows]
        return Batch(
            images=np.stack([row.pixels for row in rows]),
            labels=np.array([row.label for row in rows], np.int32),
            synthetic=np.array([row.place.synthetic for row in rows]),
            index=np.array([row.place.index for row in rows], np.int64),
            replaced=tuple(broken),
        )

    def _row(self, place: Place, broken: list[str]) -> _Row:
        """The image there, or the next good one; adds those passed over to `broken`."""
        if place.synthetic:
            kind, read, length = "synthetic", self.synthetic_image, self.order.num_synthetic
        else:
            kind, read, length = "real", self.real_image, self.order.num_real
        assert read is not None
        for offset in range(length):
            index = (place.index + offset) % length
            image = read(index)
            if image.pixels is not None:
                return _Row(Place(place.synthetic, index), image.label, image.pixels)
            broken.append(image.error)
        raise UserError(
            f"None of the {length} {kind} images can be decoded ({broken[-1]}). Check that their "
            "files are where the set says."
        )


def _report_once(batches: Generator[Batch, None, None]) -> Generator[Batch, None, None]:
    """The same batches, each broken image named in the first of them only."""
    known: set[str] = set()
    with contextlib.closing(batches):
        for batch in batches:
            new = [message for message in dict.fromkeys(batch.replaced) if message not in known]
            known.update(new)
            yield batch._replace(replaced=tuple(new))

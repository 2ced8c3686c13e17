"""Batches to evaluate a classifier on: every image once, in order, in batches of one shape."""

import dataclasses
from collections.abc import Generator
from typing import NamedTuple

import numpy as np

from dreamda_jax.data.loader import ReadImage
from dreamda_jax.data.read_ahead import read_ahead
from dreamda_jax.data.sources import Source, classes
from dreamda_jax.data.stream_order import host_rows
from dreamda_jax.data.transforms import Crop


class EvaluationBatch(NamedTuple):
    """One host's rows of a global batch."""

    images: np.ndarray
    """uint8 [rows, resolution, resolution, 3], sRGB 0..255; black where `mask` is False."""
    labels: np.ndarray
    """int32 [rows]; 0 in padding."""
    mask: np.ndarray
    """bool [rows]: False for padding and for images that cannot be decoded."""
    index: np.ndarray  # type: ignore[assignment]  # hides tuple.index, which nobody calls here
    """int64 [rows]: the image's place in the source; -1 in padding."""
    broken: tuple[str, ...]
    """"name: reason" of this batch's images that cannot be decoded."""


def evaluation_batches(
    source: Source,
    *,
    batch_size: int,
    host_index: int = 0,
    host_count: int = 1,
    resolution: int,
    crop: Crop,
    num_workers: int = 0,
    num_threads: int = 2,
    prefetch: int = 4,
) -> Generator[EvaluationBatch, None, None]:
    """Reads every image of a source once, over all hosts, in the source's order.

    Closing the iterator early stops the threads and worker processes.

    Args:
      source: the images; labels as the classifier knows them (`classes.match_classes`).
      batch_size: B, over all hosts; `host_count` must divide it. The last batch is padded.
      host_index: of this host; it gets rows host_index·B/n … (host_index + 1)·B/n - 1.
      host_count: n.
      resolution: side of the square images.
      crop: "center" or "squash"; see `transforms.decode_image`.
      num_workers: reading processes; 0 reads in threads of this process.
      num_threads: threads in each process; each works on a batch of its own.
      prefetch: how many batches to work on or hold ready, over all processes.

    Yields:
      ceil(len(source) / B) batches of B/n rows: the same number on every host.

    Raises:
      UserError: no images, or a label that names no class.
      ValueError: a number outside of its range, or a bad `crop`.
    """
    classes.check_labels(source)
    make_batch = _MakeBatch(
        read=ReadImage(source, resolution, crop),
        num_images=len(source),
        resolution=resolution,
        batch_size=batch_size,
        rows=host_rows(batch_size, host_index=host_index, host_count=host_count),
    )
    return read_ahead(
        make_batch,
        range(-(-len(source) // batch_size)),
        num_workers=num_workers,
        num_threads=num_threads,
        prefetch=prefetch,
    )


@dataclasses.dataclass(frozen=True)
class _MakeBatch:
    """Number of a batch -> this host's rows of it."""

    read: ReadImage
    num_images: int
    resolution: int
    batch_size: int
    rows: range

    def __call__(self, number: int) -> EvaluationBatch:
        side, count = self.resolution, len(self.rows)
        images = np.zeros((count, side, side, 3), np.uint8)
        labels, mask = np.zeros(count, np.int32), np.zeros(count, bool)
        index = number * self.batch_size + np.asarray(self.rows, np.int64)
        index[index >= self.num_images] = -1
        broken = []
        for row in np.flatnonzero(index >= 0):
            image = self.read(int(index[row]))
            labels[row] = image.label
            if image.pixels is None:
                broken.append(image.error)
            else:
                images[row], mask[row] = image.pixels, True
        return EvaluationBatch(images, labels, mask, index, tuple(broken))

"""What a set holds: a digest of every byte of its images, and their labels."""

import hashlib
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dreamda_jax.data.files.digests import sha256_of
from dreamda_jax.data.files.regular import check_regular
from dreamda_jax.data.sources import Source
from dreamda_jax.data.sources.classes import checked_label
from dreamda_jax.errors import UserError

_CHUNK = 1024  # images; what one thread's work is handed out in, and what progress counts
_THREADS = 8  # reading waits for the disk, hashing lets other threads run


class Content(NamedTuple):
    """Of a source.

    Attributes:
      digest: sha256 (hex) of the images in their order: files' bytes as they lie on the disk, or
        pixels. Names and labels have no part in it, so a renamed folder keeps its features.
      labels: int32 [n].
    """

    digest: str
    labels: np.ndarray


def read_content(source: Source, *, report: Callable[[int], None] = lambda count: None) -> Content:
    """Reads every image of a set once, without decoding it.

    Args:
      source: the set.
      report: is told of so many images more, now and then.

    Raises:
      UserError: a label that names no class, or what the source itself finds.
    """
    digest = hashlib.sha256()
    labels = np.zeros(len(source), np.int32)

    def read(place: int) -> tuple[bytes, int]:
        example = source[place]
        return _hash(example.content), checked_label(source, example.name, example.label)

    places = iter(range(len(source)))
    with ThreadPoolExecutor(_THREADS) as pool:
        while chunk := list(itertools.islice(places, _CHUNK)):
            for place, (one, label) in zip(chunk, pool.map(read, chunk), strict=True):
                digest.update(one)
                labels[place] = label
            report(len(chunk))
    return Content(digest.hexdigest(), labels)


def _hash(content: Path | bytes | np.ndarray) -> bytes:
    if isinstance(content, Path):
        try:
            return bytes.fromhex(sha256_of(check_regular(content)))
        except (OSError, UserError):  # decoding it will say so; once it is there, it is another set
            return hashlib.sha256(b"unreadable").digest()
    if isinstance(content, np.ndarray):  # the shape tells two arrays of the same bytes apart
        content = repr(content.shape).encode() + np.ascontiguousarray(content).tobytes()
    return hashlib.sha256(content).digest()

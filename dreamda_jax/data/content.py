"""What a set is: a digest of every byte of its images, their labels and captions.

Two sets are the same where these are, whatever they are called and wherever they lie.
"""

import contextlib
import hashlib
import itertools
import json
import unicodedata
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dreamda_jax.data.files.known_digests import KnownDigests
from dreamda_jax.data.files.regular import check_regular
from dreamda_jax.data.sources import Source
from dreamda_jax.data.sources.classes import checked_label
from dreamda_jax.errors import UserError

_CHUNK = 1024  # images; what one thread's work is handed out in, and what progress counts
_THREADS = 8  # reading waits for the disk, hashing lets other threads run
IDENTITY = "content-"
"""What an identity begins with; the listings that 0.1 compared by do not."""
_UNREADABLE = hashlib.sha256(b"unreadable").digest()

Report = Callable[[int], None]


class Content(NamedTuple):
    """Of a source.

    Attributes:
      digest: sha256 (hex) of the images in their order: files' bytes as they lie on the disk, or
        pixels, and what is white in them where the set says so. Names and labels have no part in
        it, so a renamed folder keeps its features.
      labels: int32 [n].
      digests: of each image, sha256 (32 bytes).
      notes: what its label and caption add to the identity.
      identity: of images, labels by the name of their class, and captions, in their order; what
        decides whether two sets are the same. Begins with "content-".
    """

    digest: str
    labels: np.ndarray
    digests: list[bytes]
    notes: list[bytes]
    identity: str


def read_content(
    source: Source, *, report: Report = lambda count: None, verify: bool = False
) -> Content:
    """Reads every image of a set once, without decoding it, or finds what an earlier start read.

    Args:
      source: the set.
      report: is told of so many images more, now and then.
      verify: reads every file, whatever is known of it.

    Raises:
      UserError: a label that names no class, or what the source itself finds.
    """
    digest = hashlib.sha256()
    labels = np.zeros(len(source), np.int32)
    digests: list[bytes] = []
    notes: list[bytes] = []
    known = KnownDigests(verify=verify)

    def read(place: int) -> tuple[bytes, int, str | None, float | None]:
        example = source[place]
        label = checked_label(source, example.name, example.label)
        return _hash(example.content, known), label, example.text, example.grey_max

    places = iter(range(len(source)))
    with contextlib.ExitStack() as stack:
        stack.callback(known.save)  # what an interrupted start has read counts as well
        pool = stack.enter_context(ThreadPoolExecutor(_THREADS))
        while chunk := list(itertools.islice(places, _CHUNK)):
            for place, (one, label, text, white) in zip(chunk, pool.map(read, chunk), strict=True):
                digest.update(one if white is None else one + repr(float(white)).encode())
                labels[place] = label
                digests.append(one)
                note = json.dumps([int(label), None if text is None else _composed(text)])
                notes.append(note.encode())
            report(len(chunk))
    found = identity(source.label_names, digests, notes)
    return Content(digest.hexdigest(), labels, digests, notes, found)


def identity(label_names: Sequence[str], digests: Sequence[bytes], notes: Sequence[bytes]) -> str:
    """What decides whether two sets are the same; see `Content`.

    Args:
      label_names: class names, in label order.
      digests: of the images, in their order.
      notes: of their labels and captions.
    """
    digest = hashlib.sha256(json.dumps([_composed(name) for name in label_names]).encode())
    for one, note in zip(digests, notes, strict=True):
        digest.update(one + note)
    return IDENTITY + digest.hexdigest()


class Shared(NamedTuple):
    """Images that two sets have in common, byte for byte.

    Attributes:
      number: of the second set's.
      names: the first few of them.
      all_of_second: whether the second set has no other that can be read.
    """

    number: int
    names: tuple[str, ...]
    all_of_second: bool


def shared_images(first: Content, second: Content, source: Source, *, shown: int = 3) -> Shared:
    """What of the second set is in the first.

    Args:
      first: a set.
      second: another.
      source: the second one's images, for their names.
      shown: how many are named.
    """
    there = set(first.digests) - {_UNREADABLE}
    places = [place for place, one in enumerate(second.digests) if one in there]
    readable = sum(one != _UNREADABLE for one in second.digests)
    names = tuple(source[place].name for place in places[:shown])
    return Shared(len(places), names, bool(places) and len(places) == readable)


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _hash(content: Path | bytes | np.ndarray, known: KnownDigests) -> bytes:
    if isinstance(content, Path):
        try:
            return bytes.fromhex(known.sha256(check_regular(content)))
        except (
            OSError,
            ValueError,
            UserError,
        ):  # decoding it will say so; once there, it is another
            return _UNREADABLE
    if isinstance(content, np.ndarray):  # the shape tells two arrays of the same bytes apart
        content = repr(content.shape).encode() + np.ascontiguousarray(content).tobytes()
    return hashlib.sha256(content).digest()

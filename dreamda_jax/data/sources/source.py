"""Where labelled images come from: the one interface, and the way to open a source by name.

A source is random access and picklable, so that Grain's worker processes can read it. It never
decodes: `Example.content` is a path, encoded bytes or raw pixels, and `transforms.decode_image`
turns any of them into an array.
"""

import difflib
import hashlib
import json
import operator
import pathlib
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple, Protocol, SupportsIndex

import numpy as np


class Example(NamedTuple):
    """One labelled image, not yet decoded."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody calls on a record
    """Its place in the source's fixed order: the *seed image id*, from which randomness derives."""
    name: str
    """File name or TFDS id, printable, for messages."""
    label: int
    """0 <= label < len(source.label_names)."""
    content: pathlib.Path | bytes | np.ndarray
    """A file, encoded bytes, or uint8 pixels [h, w, 3]."""
    text: str | None = None
    """The image's own caption where the source has one."""
    grey_max: float | None = None
    """What is white in its grey of more than eight bits; None: see `transforms.decode_image`."""


class Source(Protocol):
    """A labelled image set with random access, picklable, in an order that never changes."""

    @property
    def name(self) -> str:
        """Short slug such as "fashion20"; the output data set is named after it."""

    @property
    def label_names(self) -> tuple[str, ...]:
        """Class names; an example's label is an index into them."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: SupportsIndex) -> Example: ...

    def fingerprint(self) -> str:
        """Sha256 (hex) of the listing: names, labels, captions, label names, split."""


class Spread:
    """So many examples of a source, evenly spread over it, so that sorted classes all appear.

    Where classes are so unlike in size that one would be left out, each gives one at least and the
    others are shared in proportion, as far as the source has its labels in memory.

    Args:
      source: the whole set.
      count: how many; at most its length. They are numbered 0 … count-1.
    """

    def __init__(self, source: Source, count: int) -> None:
        self._source = source
        self._places = [place * len(source) // count for place in range(count)]
        self._by_class = False
        self.name, self.label_names = source.name, source.label_names
        self.ignored: tuple[str, ...] = getattr(source, "ignored", ())
        self.record_files: tuple[pathlib.Path, ...] = getattr(source, "record_files", ())
        labels = getattr(source, "labels", None)
        if labels is not None:
            of_each = np.asarray(labels, np.int64)
            present = np.unique(of_each)
            if len(present) <= count and len(np.unique(of_each[self._places])) < len(present):
                self._places, self._by_class = _spread_by_class(of_each, count), True
            self.labels = of_each[self._places]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: SupportsIndex) -> Example:
        place = checked_index(index, len(self))
        return self._source[self._places[place]]._replace(index=place)

    def fingerprint(self) -> str:
        """The whole source's, how many are taken, and how."""
        how = " by class" if self._by_class else ""
        return f"{self._source.fingerprint()}/{len(self)}{how}"


def _spread_by_class(labels: np.ndarray, count: int) -> list[int]:
    """Places of `count` examples: one of each class, the rest in proportion, evenly within each."""
    sizes = np.bincount(labels)
    taken = np.minimum(sizes, 1)
    rest = (sizes - taken) * (count - taken.sum()) / max(sizes.sum() - taken.sum(), 1)
    taken += np.floor(rest).astype(np.int64)
    # The largest remainders get what rounding down has left over.
    order = np.argsort(-(rest - np.floor(rest)), kind="stable")
    taken[order[: count - taken.sum()]] += 1
    places: list[int] = []
    for label, number in enumerate(taken.tolist()):
        own = np.flatnonzero(labels == label)
        places += [int(own[place * len(own) // number]) for place in range(number)]
    return sorted(places)


def nearest(word: str, candidates: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the candidate most like `word`, or an empty string."""
    matches = difflib.get_close_matches(word, list(candidates), n=1)
    return f" (did you mean {matches[0]!r}?)" if matches else ""


def checked_index(index: SupportsIndex, length: int) -> int:
    """`index` as a plain int with 0 <= index < length.

    Raises:
      IndexError: outside of that range. Negative indices too: an index is a seed image id, and
        two ids for one image would give it two random streams.
    """
    place = operator.index(index)
    if not 0 <= place < length:
        raise IndexError(f"example {place} of {length}")
    return place


def listing_fingerprint(
    header: dict[str, object], rows: Iterable[tuple[str, int, str | None]]
) -> str:
    """Sha256 (hex) of a listing, the same on every machine and file system.

    Args:
      header: what belongs to the whole listing, e.g. the split; JSON-serialisable.
      rows: (name, label, caption) of each example, in order.
    """
    digest = hashlib.sha256()

    def add(item: object) -> None:
        # macOS may hand back decomposed file names; composing them makes both sides agree.
        # ASCII-only JSON keeps lone surrogates (file names that are not UTF-8) hashable.
        text = json.dumps(item, ensure_ascii=False, sort_keys=True)
        digest.update(json.dumps(unicodedata.normalize("NFC", text)).encode("ascii") + b"\n")

    add(header)
    for name, label, text in rows:
        add([name, int(label), text])
    return digest.hexdigest()

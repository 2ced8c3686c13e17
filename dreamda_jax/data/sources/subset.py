"""Some examples of a source, as a source of their own, with its labels or with other ones."""

import hashlib
from collections.abc import Sequence
from typing import SupportsIndex

import numpy as np

from dreamda_jax.data.sources.source import Example, Source, checked_index, listing_fingerprint


class Subset:
    """Chosen examples of a source, numbered anew 0 … n-1; none at all is allowed.

    Args:
      source: the whole set.
      indices: int [n], places in `source`, in the order wanted.
      labels: int [n], labels to give in place of the source's own, such as pseudo-labels; None
        keeps those.

    `labels` is an attribute, int64 [n], where labels were given or the source has them in memory.
    The subset pickles if the source does.

    Raises:
      ValueError: an index outside of the source, a label outside of its classes, as many labels
        as there are not indices, or an array that is not one-dimensional and of integers.
    """

    labels: np.ndarray

    def __init__(
        self,
        source: Source,
        indices: np.ndarray | Sequence[int],
        labels: np.ndarray | Sequence[int] | None = None,
    ) -> None:
        self._source = source
        self.name, self.label_names = source.name, source.label_names
        self.ignored: tuple[str, ...] = getattr(source, "ignored", ())
        self._indices = _integers("indices", indices, limit=len(source))
        self._given: np.ndarray | None = None
        if labels is not None:
            self._given = _integers("labels", labels, limit=len(source.label_names))
            if len(self._given) != len(self._indices):
                raise ValueError(f"{len(self._given)} labels for {len(self._indices)} indices")
            self.labels = self._given
        elif hasattr(source, "labels"):
            self.labels = np.asarray(source.labels, np.int64)[self._indices]

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: SupportsIndex) -> Example:
        place = checked_index(index, len(self))
        example = self._source[int(self._indices[place])]._replace(index=place)
        if self._given is None:
            return example
        return example._replace(label=int(self._given[place]))

    def fingerprint(self) -> str:
        """The whole source's, which examples are taken, and the labels given to them."""
        header: dict[str, object] = {
            "source": self._source.fingerprint(),
            "indices": _digest(self._indices),
            "labels": None if self._given is None else _digest(self._given),
        }
        return listing_fingerprint(header, ())


def _integers(what: str, values: np.ndarray | Sequence[int], *, limit: int) -> np.ndarray:
    array = np.asarray(values)
    if array.size == 0:
        array = array.astype(np.int64)  # numpy makes an empty list one of floats
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(f"{what} are {array.dtype} of shape {array.shape}, not integers [n]")
    wrong = array[(array < 0) | (array >= limit)]
    if wrong.size:
        raise ValueError(f"{what} hold {int(wrong[0])}, outside of 0..{limit - 1}")
    return array.astype(np.int64)


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(array.astype("<i8").tobytes()).hexdigest()  # on any machine the same

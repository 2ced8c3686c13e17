"""Some examples of a source as a source of their own: chosen, labelled anew, or drawn by class."""

import hashlib
import pathlib
from collections.abc import Sequence
from typing import SupportsIndex

import numpy as np

from dreamda_jax.data.sources import classes
from dreamda_jax.data.sources.source import Example, Source, checked_index, listing_fingerprint
from dreamda_jax.errors import UserError
from dreamda_jax.printable import printable


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
        self.record_files: tuple[pathlib.Path, ...] = getattr(source, "record_files", ())
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


def draw_labelled(source: Source, num_labels: int, *, seed: int) -> Subset:
    """Draws as many examples of each class, `num_labels` in all, without replacement.

    Args:
      source: a labelled set.
      num_labels: a multiple of the number of classes C.
      seed: from 0; the same seed draws the same examples of the same source on every machine.

    Returns:
      The subset, in the source's order.

    Raises:
      UserError: `num_labels` cannot be shared equally, a class has too few images, or an image
        has a label that names no class.
    """
    num_classes = len(source.label_names)
    per_class, rest = divmod(num_labels, num_classes)
    if rest or per_class < 1:
        nearest = max(1, round(num_labels / num_classes)) * num_classes
        raise UserError(
            f"num_labels is {num_labels}, but as many images are drawn of each of the "
            f"{num_classes} classes of {source.name}. Give a multiple of {num_classes}, such as "
            f"{nearest}."
        )
    labels = _read_labels(source)
    scarce = _scarce(source, np.bincount(labels, minlength=num_classes), per_class)
    if scarce:
        raise UserError(
            f"num_labels={num_labels} draws {per_class} images of each class of {source.name}, "
            f"which has fewer of: {scarce}. Lower num_labels, or add images of these classes."
        )
    generator = np.random.default_rng(seed)
    drawn = [
        generator.permutation(np.flatnonzero(labels == label))[:per_class]
        for label in range(num_classes)
    ]
    return Subset(source, np.sort(np.concatenate(drawn)))


def class_counts(source: Source) -> np.ndarray:
    """How many examples each class has, int64 [C]; no image is decoded.

    Raises:
      UserError: a label names no class.
    """
    return np.bincount(_read_labels(source), minlength=len(source.label_names))


def check_two_per_class(source: Source) -> None:
    """Checks that a labelled set is enough for self-training.

    Raises:
      UserError: a class has fewer than two images, or a label names no class.
    """
    scarce = _scarce(source, class_counts(source), 2)
    if scarce:
        raise UserError(
            "Self-training needs at least two labelled images of each class: from one alone "
            "nobody can tell what the class has in common. In "
            f"{source.name} there are fewer of: {scarce}. Add images of these classes, take the "
            "classes out of the set, or raise num_labels if the labelled images are drawn."
        )


def _read_labels(source: Source) -> np.ndarray:
    """Int64 [n]; from memory where the source has them there, else example by example."""
    if not len(source):
        return np.zeros(0, np.int64)
    classes.check_labels(source)
    if hasattr(source, "labels"):
        return np.asarray(source.labels, np.int64)
    examples = (source[index] for index in range(len(source)))
    checked = (classes.checked_label(source, e.name, e.label) for e in examples)
    return np.fromiter(checked, np.int64, len(source))


def _scarce(source: Source, counts: np.ndarray, needed: int) -> str:
    """`'cat' (1), 'dog' (0)`: the classes with too few examples; empty if there are none."""
    named = zip(source.label_names, counts.tolist(), strict=True)
    few = [f"{printable(name)!r} ({count})" for name, count in named if count < needed]
    return ", ".join(few[:10]) + (f" and {len(few) - 10} more" if len(few) > 10 else "")

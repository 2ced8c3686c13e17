"""Class names of two sets: the same label means the same class, whatever order each set has."""

import pathlib
import unicodedata
from collections.abc import Sequence
from typing import SupportsIndex

import numpy as np

from dreamda_jax.data.sources.folder_walk import first_few
from dreamda_jax.data.sources.source import Example, Source, listing_fingerprint
from dreamda_jax.errors import UserError
from dreamda_jax.printable import well_formed


def match_classes(reference: Sequence[str], source: Source, *, what: str) -> Source:
    """A source whose labels are indices into `reference`.

    Names are compared, not their number: white space as TFDS stores it (`records.features`), in
    composed Unicode, case and everything else as it is.

    Args:
      reference: the class names of the set that decides, in label order, e.g. the real training
        set's.
      source: another set of the same classes, or of some of them, in any order.
      what: what the messages call it, such as "the synthetic set runs/fashion".

    Returns:
      `source` itself where its names are those of `reference` in the same order; else a view of
      it with every label mapped by its name. The view pickles if the source does.

    Raises:
      UserError: `source` has a class that `reference` has not.
    """
    if same_classes(reference, source.label_names):
        return source
    mapping = label_mapping(reference, source.label_names, what=what)
    return _Relabelled(source, tuple(reference), mapping)


def label_mapping(
    reference: Sequence[str],
    label_names: Sequence[str],
    *,
    what: str,
    whose: str = "those to train on",
) -> tuple[int, ...]:
    """The place in `reference` of each of `label_names`, compared as `match_classes` does.

    Args:
      reference: class names, of which there may be more.
      label_names: others.
      what: what the message calls the owner of `label_names`.
      whose: what it calls `reference`.

    Raises:
      UserError: a name is not in `reference`; `what` is whose names they are.
    """
    labels = {_comparable(name): label for label, name in enumerate(reference)}
    theirs = {_comparable(name): name for name in label_names}
    strangers = [name for key, name in theirs.items() if key not in labels]
    if strangers:
        missing = [name for name in reference if _comparable(name) not in theirs]
        raise UserError(
            f"The classes of {what} are not {whose}. Only in {what} ({len(strangers)} of "
            f"{len(theirs)}): {first_few(strangers)}. Only among {whose} ({len(missing)} "
            f"of {len(labels)}): {first_few(missing) or 'none'}. Use sets of the same classes, or "
            "rename classes (in an image folder: sub-folders) until the names agree, upper and "
            "lower case included."
        )
    return tuple(labels[_comparable(name)] for name in label_names)


def united(reference: Sequence[str], *others: Sequence[str]) -> tuple[str, ...]:
    """The class names of several sets: those of `reference`, then what the others have besides.

    Each set fits the result (`match_classes`). Compared as `match_classes` does.
    """
    names = {_comparable(name): name for name in reference}
    for other in others:
        for name in other:
            names.setdefault(_comparable(name), name)
    return tuple(names.values())


def same_classes(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two sets have the same class names in the same order, compared as above."""
    return [*map(_comparable, one)] == [*map(_comparable, other)]


def check_labels(source: Source) -> None:
    """Checks what can be known of a source without reading its images.

    Sources that keep their labels in memory, as image folders do, have them in `labels`. Those of
    others are checked as they are read, by `checked_label`.

    Raises:
      UserError: there are no images, or one has a label that names no class.
    """
    if not len(source):
        raise UserError(
            f"There are no images in {source.name}. Give another split or directory, or make the "
            "set first."
        )
    labels: Sequence[int] = getattr(source, "labels", ())
    for index, label in enumerate(labels):
        if not 0 <= label < len(source.label_names):
            checked_label(source, source[index].name, label)


def checked_label(source: Source, name: str, label: int) -> int:
    """The label of the example `name` as a plain int, 0 <= label < number of classes.

    Raises:
      UserError: it is outside of that range.
    """
    count = len(source.label_names)
    if not 0 <= label < count:
        raise UserError(
            f"The image {name} of {source.name} has the label {label}, outside of 0..{count - 1}: "
            f"there are {count} classes. Mend its label, or choose a split whose images are "
            "labelled."
        )
    return int(label)


def _comparable(name: str) -> str:
    # A folder's name may be decomposed (macOS) or hold lone surrogates, which TFDS stores escaped.
    text = unicodedata.normalize("NFC", " ".join(name.split()))
    return well_formed(text)


class _Relabelled:
    """A source with the label names of another set."""

    def __init__(
        self, source: Source, label_names: tuple[str, ...], mapping: tuple[int, ...]
    ) -> None:
        self._source, self._mapping = source, mapping
        self.name, self.label_names = source.name, label_names
        self.ignored: tuple[str, ...] = getattr(source, "ignored", ())
        self.record_files: tuple[pathlib.Path, ...] = getattr(source, "record_files", ())
        labels = getattr(source, "labels", None)
        if labels is not None:
            check_labels(source)
            self.labels = np.asarray(mapping, np.int32)[np.asarray(labels, np.int64)]

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: SupportsIndex) -> Example:
        example = self._source[index]
        label = checked_label(self._source, example.name, example.label)
        return example._replace(label=self._mapping[label])

    def fingerprint(self) -> str:
        """The source's and the mapping's."""
        header: dict[str, object] = {
            "source": self._source.fingerprint(),
            "label_names": list(self.label_names),
            "mapping": list(self._mapping),
        }
        return listing_fingerprint(header, ())

"""Images without labels, as the sources that labelled images come from.

Semi-supervised training reads them through the same batches (`training_stream`), so every example
has the label 0, which means nothing. Labels that a set happens to have are not read.
"""

import functools
import hashlib
import inspect
import os
import stat
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np

from dreamda_jax.data.sources import folder, folder_walk, tfds_locate, tfds_records
from dreamda_jax.data.sources.labels import slug
from dreamda_jax.data.sources.sample_source import UnlabelledSample
from dreamda_jax.data.sources.source import (
    Example,
    Source,
    checked_index,
    listing_fingerprint,
    nearest,
)
from dreamda_jax.errors import UserError
from dreamda_jax.printable import printable

_PROBES = 16  # records of a TFDS set whose content its fingerprint has


def open_unlabelled(label_names: Sequence[str], /, *, kind: str, **options: Any) -> Source:
    """Opens a set of images whose labels are not needed and, where there are any, not used.

    Args:
      label_names: the class names of the labelled set, which the source takes as its own.
      kind: "sample" (the packaged fashion20; its 2,000 unlabelled images unless `split` says
        otherwise), "folder" (every image below a folder, however deep; sub-folders and metadata
        say nothing) or "tfds" (a prepared TensorFlow Datasets set, with or without labels).
      **options: those of `sources.open_source`. The ones about labels are accepted, because a
        section may inherit them from that of the labelled set, and have no effect.

    Returns:
      The source; the label of every example is 0, its caption None.

    Raises:
      UserError: unknown kind or option, no image, or anything wrong with the data.
    """
    names = tuple(label_names)
    openers: dict[str, Callable[..., Source]] = {
        "sample": functools.partial(_open_sample, names),
        "folder": functools.partial(_open_folder, names),
        "tfds": functools.partial(_open_tfds, names),
    }
    if kind not in openers:
        raise UserError(
            f"Unknown kind of unlabelled images {kind!r}{nearest(str(kind), openers)}. "
            f"Choose one of: {', '.join(openers)}."
        )
    accepted = inspect.signature(openers[kind]).parameters
    for option in options:
        if option not in accepted:
            raise UserError(
                f"Unlabelled images of kind {kind!r} have no option {option!r}"
                f"{nearest(option, accepted)}. Their options: {', '.join(accepted)}."
            )
    return openers[kind](**options)


def refuse_test_images(unlabelled: Source, test: Source, *, what: str) -> int:
    """Looks for test images among the unlabelled ones, byte for byte.

    Contents are compared as they are stored, encoded bytes with encoded bytes and pixels with
    pixels; a picture that was encoded anew is not recognised. Only images of the same size (bytes
    of a file, shape of pixels) are read whole. Files that cannot be read are passed over.

    Args:
      unlabelled: the set to be trained on.
      test: the set that the accuracy is measured on.
      what: what the message calls the unlabelled set, such as "the unlabelled set".

    Returns:
      How many images of `test` are among the unlabelled ones.

    Raises:
      UserError: all of them are.
    """
    places = defaultdict(list)  # of the test images of each size
    for place in range(len(test)):
        if (size := _size(test[place].content)) is not None:
            places[size].append(place)
    digests: dict[tuple[int, ...], set[str]] = defaultdict(set)  # of the unlabelled images
    for index in range(len(unlabelled)):
        content = unlabelled[index].content
        size = _size(content)
        if size is None or size not in places:
            continue
        if (digest := _digest(content)) is not None:
            digests[size].add(digest)
    shared = readable = 0
    for size, same_size in places.items():
        for place in same_size:
            if size not in digests:
                readable += 1
            elif (digest := _digest(test[place].content)) is not None:
                readable += 1
                shared += digest in digests[size]
    if shared and shared == readable:
        raise UserError(
            f"All {shared:,} images of the test set are in {what} ({unlabelled.name}, "
            f"{len(unlabelled):,} images), so they would be trained on and the accuracy on them "
            "would mean nothing. Give another split or folder to one of the two."
        )
    return shared


def _size(content: Path | bytes | np.ndarray) -> tuple[int, ...] | None:
    """What equal contents have in common, at no cost; None for what is not a file."""
    if isinstance(content, np.ndarray):
        return (0, *content.shape)  # apart from encoded images of any size
    if isinstance(content, bytes):
        return (len(content),)
    try:
        status = content.stat()
    except (OSError, ValueError):  # ValueError: a NUL or a lone surrogate in the name
        return None
    return (status.st_size,) if stat.S_ISREG(status.st_mode) else None


def _digest(content: Path | bytes | np.ndarray) -> str | None:
    if isinstance(content, Path):
        try:
            content = content.read_bytes()
        except OSError:
            return None
    data = content.tobytes() if isinstance(content, np.ndarray) else content
    return hashlib.sha256(data).hexdigest()


def _open_sample(names: tuple[str, ...], *, split: str = "unlabeled") -> Source:
    return _Unlabelled(UnlabelledSample(split=split), names)


def _open_folder(
    names: tuple[str, ...],
    *,
    path: str | os.PathLike[str] | None = None,
    label_pattern: object = None,
    label_names: object = None,
    classes: object = None,
    grey_max: float | None = None,
) -> Source:
    if path is None or not os.fspath(path):  # what a config leaves open
        raise UserError("The folder of unlabelled images is not set. Give its path.")
    folder.check_grey_max(grey_max)
    root = folder.image_root(path)
    files = folder_walk.files_below(root)
    images = tuple(file for file in files if folder_walk.is_image(file))
    others = tuple(printable(file) for file in files if not folder_walk.is_image(file))
    if not images:
        found = f" (only {folder_walk.first_few(others)})" if others else ""
        raise UserError(
            f"No images in {root} or below it{found}. Image files end in "
            f"{', '.join(folder_walk.IMAGE_SUFFIXES)} (any case)."
        )
    return folder.FolderSource(
        name=slug(root.name),
        root=root,
        label_names=names,
        files=images,
        labels=(0,) * len(images),
        texts=(None,) * len(images),
        ignored=others,
        grey_max=grey_max,
    )


def _open_tfds(
    names: tuple[str, ...],
    *,
    name: str | None = None,
    split: str = "train",
    data_dir: str | os.PathLike[str] | None = None,
    image_key: str | None = None,
    label_key: object = None,
    grey_max: float | None = None,
) -> Source:
    import tensorflow_datasets as tfds

    directory = tfds_locate.find_directory(name or "", os.fspath(data_dir) if data_dir else None)
    builder = tfds_records.open_builder(directory)
    info = builder.info
    features = sorted(info.features)  # their stored order is a hash's
    images = [key for key in features if isinstance(info.features[key], tfds.features.Image)]
    if not images or image_key not in (None, *images):
        raise UserError(
            f"{info.full_name} has no image feature{f' {image_key!r}' if image_key else ''}. Its "
            f"features: {', '.join(features)}; images: {', '.join(images) or 'none'}."
        )
    usual = [key for key in (*(info.supervised_keys or ()), "image") if key in images]
    tfds_records.check_split(builder, directory, split)
    folder.check_grey_max(grey_max)
    with tfds_records.packages_are_there(builder, directory):
        source = _TfdsImages(directory, split, image_key or [*usual, *images][0], grey_max)
    source[0]  # missing files show here rather than in a worker
    return _Unlabelled(source, names)


class _TfdsImages:
    """The images of a TFDS split. A `tfds_source.TfdsSource` without a label feature."""

    label_names = ()

    def __init__(
        self, directory: str, split: str, image_key: str, grey_max: float | None = None
    ) -> None:
        self._arguments = (directory, split, image_key, grey_max)
        self._records = tfds_records.TfdsRecords(directory, split)
        self.name, self._version = self._records.name, self._records.info.full_name

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: SupportsIndex) -> Example:
        place = checked_index(index, len(self))
        _, split, image_key, grey_max = self._arguments
        with self._records.reading(place) as record:
            content = bytes(record[image_key])
        return Example(place, f"{self.name}/{split}/{place}", 0, content, grey_max=grey_max)

    def fingerprint(self) -> str:
        """The version's, the split's and that of the content of 16 records spread over it."""
        _, split, image_key, _ = self._arguments
        header: dict[str, object] = {
            "source": self._version,
            "split": split,
            "image_key": image_key,
            "count": len(self),
        }
        places = sorted({i * (len(self) - 1) // (_PROBES - 1) for i in range(_PROBES)})
        digests = (f"{place} {_digest(self[place].content)}" for place in places)
        return listing_fingerprint(header, ((digest, 0, None) for digest in digests))

    def __reduce__(self):
        return _TfdsImages, self._arguments  # worker processes open the files themselves


class _Unlabelled:
    """A source with the label names of another set, all of whose labels are 0."""

    def __init__(self, source: Source, label_names: tuple[str, ...]) -> None:
        self._source = source
        self.name, self.label_names = source.name, label_names
        self.ignored: tuple[str, ...] = getattr(source, "ignored", ())

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: SupportsIndex) -> Example:
        return self._source[index]._replace(label=0, text=None)

    def fingerprint(self) -> str:
        """The source's and the class names'."""
        header: dict[str, object] = {
            "unlabelled": self._source.fingerprint(),
            "label_names": list(self.label_names),
        }
        return listing_fingerprint(header, ())

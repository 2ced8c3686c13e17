"""A prepared TensorFlow Datasets set, read through `as_data_source`: no tensorflow needed."""

import hashlib
import os
from collections.abc import Mapping
from typing import Any, SupportsIndex

from dreamda_jax.data.sources.folder import check_grey_max
from dreamda_jax.data.sources.labels import check_label_names
from dreamda_jax.data.sources.source import Example, checked_index, listing_fingerprint
from dreamda_jax.data.sources.tfds_locate import find_directory
from dreamda_jax.data.sources.tfds_records import (
    TfdsRecords,
    check_split,
    open_builder,
    packages_are_there,
)
from dreamda_jax.errors import UserError

# Only what the functions need is imported there: tensorflow_datasets takes seconds.

_NAME_KEYS = ("file_name", "image/file_name", "filename", "image_id", "id", "name")
_TEXT_KEYS = ("text", "caption")
_PROBES = 16


class TfdsSource:
    """One split of a prepared TFDS image classification set; open it with `open_tfds`.

    `source[i].content` is the encoded image as it was stored, undecoded.
    """

    def __init__(
        self,
        *,
        directory: str,
        split: str,
        image_key: str,
        label_key: str,
        grey_max: float | None = None,
    ):
        import tensorflow_datasets as tfds

        self._records = TfdsRecords(directory, split)
        info = self._records.info
        self._arguments: dict[str, Any] = {
            "grey_max": grey_max,
            "directory": directory,
            "split": split,
            "image_key": image_key,
            "label_key": label_key,
        }
        self._full_name = info.full_name
        self._split = split
        self._image_key, self._label_key = image_key, label_key
        self._name_key = _first_text(tfds, info.features, _NAME_KEYS)
        self._text_key = _first_text(tfds, info.features, _TEXT_KEYS)
        self.name, self.record_files = self._records.name, self._records.files
        self.label_names = tuple(info.features[label_key].names)
        self._sizes = [
            [name, list(part.shard_lengths), part.num_bytes] for name, part in info.splits.items()
        ]

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: SupportsIndex) -> Example:
        place = checked_index(index, len(self))
        name = f"{self.name}/{self._split}/{place}"
        with self._records.reading(place) as record:
            content, label = bytes(record[self._image_key]), int(record[self._label_key])
        if self._name_key is not None:
            name = f"{name} ({_words(record[self._name_key])})"
        if not 0 <= label < len(self.label_names):
            raise UserError(
                f"{name} has the label {label}, outside of 0..{len(self.label_names) - 1}: this "
                "split is not labelled. Choose another split."
            )
        text = _words(record[self._text_key]) if self._text_key is not None else None
        return Example(place, name, label, content, text or None, self._arguments["grey_max"])

    def fingerprint(self) -> str:
        """Sha256 (hex) that stands for the listing; see `sources.Source`.

        Reading every label would mean reading every image, so this takes what TFDS records about
        its files (version, number of examples and bytes of each shard) and the content of up to
        16 records spread over the split.
        """
        count = len(self)
        places = sorted({i * (count - 1) // max(1, _PROBES - 1) for i in range(_PROBES)})
        probes = []
        for place in places if count else []:
            example = self[place]
            assert isinstance(example.content, bytes)
            digest = hashlib.sha256(example.content).hexdigest()
            probes.append((f"{example.name} {digest}", example.label, example.text))
        header = {
            "source": self._full_name,
            "split": self._split,
            "label_names": list(self.label_names),
            "image_key": self._image_key,
            "label_key": self._label_key,
            "sizes": self._sizes,
            "count": count,
        }
        return listing_fingerprint(header, probes)

    def __reduce__(self):
        return _reopen, (self._arguments,)  # worker processes open the files themselves


def _reopen(arguments: dict[str, Any]) -> TfdsSource:
    return TfdsSource(**arguments)


def open_tfds(
    name: str | None = None,
    *,
    split: str = "train",
    data_dir: str | os.PathLike[str] | None = None,
    image_key: str | None = None,
    label_key: str | None = None,
    grey_max: float | None = None,
) -> TfdsSource:
    """Opens one split of a prepared TFDS set.

    Args:
      name: as `tfds.builder` takes it: "oxford_iiit_pet", "name/config", "name:3.0.0". May be
        left out if `data_dir` is itself a prepared set.
      split: a split or a slice of one, e.g. "train" or "train[:10%]+test".
      data_dir: where prepared sets are kept (default: TFDS's own, ~/tensorflow_datasets), or the
        directory of one set, which holds its dataset_info.json.
      image_key: the image feature, if the choice (the supervised pair, else a feature called
        "image", else the first image) is wrong.
      label_key: the class label feature, likewise.
      grey_max: what is white in grey images of more than eight bits; see `folder.open_folder`.

    Returns:
      The source. Nothing is downloaded or prepared.

    Raises:
      UserError: unknown set or split, not prepared, prepared in a format without random access,
        no image or label feature, no labels in this split.
    """
    import tensorflow_datasets as tfds

    check_grey_max(grey_max)
    directory = find_directory(name or "", os.fspath(data_dir) if data_dir else None)
    builder = open_builder(directory)
    splits = list(builder.info.splits)
    if not isinstance(split, str) or not split:
        raise UserError(f"The split is {split!r}; set it to one of: {', '.join(splits)}.")
    image_key, label_key = _find_features(tfds, builder, image_key, label_key)
    check_label_names(builder.info.features[label_key].names)
    check_split(builder, directory, split)
    with packages_are_there(builder, directory):
        source = TfdsSource(
            directory=directory,
            split=split,
            image_key=image_key,
            label_key=label_key,
            grey_max=grey_max,
        )
    source[0]  # missing files and a split without labels show here rather than in a worker
    return source


def _find_features(
    tfds: Any, builder: Any, image_key: str | None, label_key: str | None
) -> tuple[str, str]:
    features = builder.info.features
    listed = ", ".join(f"{key} ({type(feature).__name__})" for key, feature in features.items())
    supervised = builder.info.supervised_keys or ()

    def find(wanted: str | None, kind: type, usual: str, option: str) -> str:
        fitting = [key for key, feature in features.items() if isinstance(feature, kind)]
        if wanted is not None:
            if wanted not in fitting:
                raise UserError(
                    f"{builder.info.full_name} has no {kind.__name__} feature {wanted!r}. Its "
                    f"features: {listed}. Mend {option}."
                )
            return wanted
        if not fitting:
            raise UserError(
                f"{builder.info.full_name} has no {kind.__name__} feature, so it is not an image "
                f"classification set. Its features: {listed}."
            )
        preferred = [key for key in supervised if isinstance(key, str) and key in fitting]
        return next(iter([*preferred, *(key for key in fitting if key == usual), *fitting]))

    image = find(image_key, tfds.features.Image, "image", "image_key")
    label = find(label_key, tfds.features.ClassLabel, "label", "label_key")
    if str(getattr(features[image], "np_dtype", "uint8")).endswith("float32"):
        raise UserError(
            f"The feature {image!r} of {builder.info.full_name} holds float images, which are not "
            "pictures. Choose another feature with image_key."
        )
    if not features[label].num_classes:
        raise UserError(f"The feature {label!r} of {builder.info.full_name} names no classes.")
    return image, label


def _first_text(tfds: Any, features: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    for key in keys:
        if key in features and isinstance(features[key], tfds.features.Text):
            return key
    return None


def _words(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)

"""The TFDS metadata of a set and their checksums, so that a changed class list is noticed.

    DIR/features.json, label.labels.txt    what a record holds, and the class names by label
    DIR/done/metadata.json                 sha256 of these and of dataset_info.json
    DIR/dataset_info.json                  name, splits, lengths of the shards: written last

Sets of 0.1 have no done/metadata.json: of theirs only the records' own class names tell.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dreamda_jax.data.files import atomic, json_text
from dreamda_jax.data.files.digests import sha256_of, sha256_of_bytes
from dreamda_jax.data.sets import records
from dreamda_jax.data.sets.layout import Layout
from dreamda_jax.errors import UserError

INFO, LABELS, FEATURES = "dataset_info.json", "label.labels.txt", "features.json"
_DIGESTS = "done/metadata.json"


def write(
    layout: Layout,
    *,
    label_names: Sequence[str],
    image_shape: tuple[int | None, int | None, int],
    image_format: records.ImageFormat,
    lengths: Sequence[int],
    num_bytes: int,
    description: str,
) -> None:
    """Write what is not there yet as it should be; `dataset_info.json` last.

    Args:
        layout: of the set.
        label_names: by label.
        image_shape: of the records' images; None where sizes vary.
        image_format: of the records' images.
        lengths: records in each shard.
        num_bytes: of all shards.
        description: a sentence for people.
    """
    described = records.features(
        label_names=label_names, image_shape=image_shape, image_format=image_format
    )
    with tempfile.TemporaryDirectory(prefix="dreamda_jax-metadata-") as scratch:
        described.save_config(scratch)
        files = {path.name: path.read_bytes() for path in sorted(Path(scratch).iterdir())}
    info = _dataset_info(layout, lengths, num_bytes, description)
    digests = {name: sha256_of_bytes(data) for name, data in (*files.items(), (INFO, info))}
    for name, data in files.items():
        atomic.write_if_changed(layout.directory / name, data)
    atomic.write_if_changed(layout.directory / _DIGESTS, atomic.to_json({"sha256": digests}))
    atomic.write_if_changed(layout.directory / INFO, info)


def read(directory: Path, *, what_to_do: str) -> tuple[list[str], records.ImageFormat]:
    """The class names by label and the format of the images.

    Args:
        directory: of the set.
        what_to_do: the end of every message.

    Raises:
        UserError: a file is missing, damaged, or not what it was when the set was finished.
    """
    try:
        _compare(directory, what_to_do=what_to_do)
        labels = (directory / LABELS).read_text(encoding="utf-8")
        features = json_text.parse((directory / FEATURES).read_bytes())
        image = features["featuresDict"]["features"]["image"]["image"]
        json_text.parse((directory / INFO).read_bytes())
        image_format = image["encodingFormat"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{directory}: all shards are there, but not the metadata ({error}). {what_to_do}"
        ) from error
    return [name for name in labels.split("\n") if name], image_format


def check_label(
    record: records.Record, label_names: Sequence[str], directory: Path
) -> records.Record:
    """The same record, if the class list says of its label what the record itself says.

    A record without a class name says nothing.

    Raises:
        UserError: the set's class list is not the one its records were made under.
    """
    own = records.stored_name(record.label_name)
    listed = label_names[record.label] if 0 <= record.label < len(label_names) else None
    if listed is None or (own and own != listed):
        others = f"{listed!r}" if listed is not None else f"{len(label_names)} classes only"
        raise UserError(
            f"{directory / LABELS} is not that of its records: variant {record.variant} of seed "
            f"image {record.seed_id} has label {record.label} and is of class {own!r}, where the "
            f"file has {others}. Run the `python -m dreamda_jax.generate` command that made the "
            "set again: it writes the file anew."
        )
    return record


def _compare(directory: Path, *, what_to_do: str) -> None:
    file = directory / _DIGESTS
    if not file.exists():
        return
    for name, digest in sorted(json_text.parse(file.read_bytes())["sha256"].items()):
        if name not in (INFO, LABELS, FEATURES):
            raise ValueError(f"{_DIGESTS} names {name!r:.40}")
        if sha256_of(directory / name) != digest:
            raise UserError(
                f"{directory / name} is not what it was when the set was finished: its checksum "
                f"differs. {what_to_do}"
            )


def _dataset_info(
    layout: Layout, lengths: Sequence[int], num_bytes: int, description: str
) -> bytes:
    """`dataset_info.json` as TFDS writes it: the JSON form of its DatasetInfo message."""
    from google.protobuf import json_format
    from tensorflow_datasets.core.proto import dataset_info_pb2

    info = dataset_info_pb2.DatasetInfo(
        name=layout.name,
        version="1.0.0",
        description=description,
        file_format="array_record",
        splits=[
            dataset_info_pb2.SplitInfo(
                name=layout.split,
                shard_lengths=lengths,
                num_bytes=num_bytes,
                filepath_template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
            )
        ],
    )
    info.supervised_keys.input, info.supervised_keys.output = "image", "label"
    message: dict[str, Any] = json_format.MessageToDict(info)
    return atomic.to_json(message)

"""Writes a TFDS-layout set with oxford_iiit_pet's features, without tensorflow."""

import io
import json
import os
import pathlib

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image
from tensorflow_datasets.core import dataset_info as info_lib
from tensorflow_datasets.core import example_serializer, naming
from tensorflow_datasets.core import splits as splits_lib


def write_tfds_set(directory, name, split, images, labels, label_names, *, version="4.0.0"):
    """Writes one split into `directory`; call again with another split to add it.

    Args:
      directory: made if need be; afterwards holds dataset_info.json, features.json, the labels
        and one ArrayRecord file per split.
      name: data set name, e.g. "oxford_iiit_pet".
      split: split name, e.g. "train".
      images: one per example: uint8 pixels [h, w, 3] (stored as JPEG) or encoded bytes.
      labels: one int per example.
      label_names: class names.
      version: "x.y.z".
    """
    os.makedirs(directory, exist_ok=True)
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(),
            "label": tfds.features.ClassLabel(names=list(label_names)),
            "species": tfds.features.ClassLabel(names=["Cat", "Dog"]),
            "file_name": tfds.features.Text(),
            "segmentation_mask": tfds.features.Image(shape=(None, None, 1)),
        }
    )
    serializer = example_serializer.ExampleSerializer(features.get_serialized_info())
    template = naming.ShardedFileTemplate(
        data_dir=directory, dataset_name=name, filetype_suffix="array_record"
    )
    file = f"{name}-{split}.array_record-00000-of-00001"
    writer = ArrayRecordWriter(os.path.join(directory, file), "group_size:1")
    count = size = 0
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        mask = np.ones((8, 8), np.uint8)
        record = serializer.serialize_example(
            {
                "image": image if isinstance(image, bytes) else _encode(image, "JPEG"),
                "label": int(label),
                "species": i % 2,
                "file_name": f"{label_names[max(0, int(label))]}_{i}.jpg",
                "segmentation_mask": _encode(mask, "PNG"),
            }
        )
        writer.write(record)
        count, size = count + 1, size + len(record)
    writer.close()

    parts = [
        splits_lib.SplitInfo(
            name=split, shard_lengths=[count], num_bytes=size, filename_template=template
        )
    ]
    if (pathlib.Path(directory) / "dataset_info.json").exists():
        before = tfds.builder_from_directory(directory).info.splits
        parts += [part for other, part in before.items() if other != split]
    identity = info_lib.DatasetIdentity(
        name=name, version=tfds.core.Version(version), data_dir=str(directory), module_name=""
    )
    info = info_lib.DatasetInfo(
        builder=identity,
        features=features,
        supervised_keys=("image", "label"),
        split_dict=splits_lib.SplitDict(parts),
    )
    info.set_file_format("array_record")
    info.write_to_directory(directory)


def edit_info(directory, **changes):
    """Replaces fields of dataset_info.json, to pretend."""
    path = pathlib.Path(directory) / "dataset_info.json"
    content = json.loads(path.read_text())
    content.update(changes)
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def _encode(pixels, image_format):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, image_format)
    return buffer.getvalue()

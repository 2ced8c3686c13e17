"""One synthetic image as a record: encoding, the TFDS features that describe it, reading it back.

A record is a `tf.Example` in an ArrayRecord file, the layout that TFDS' `as_data_source()` and
Grain read with no code of ours and no tensorflow. Pixels are uint8 [h, w, 3] sRGB, 0..255.
"""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import Image

from dreamda_jax.errors import UserError
from dreamda_jax.printable import well_formed

ImageFormat = Literal["png", "jpeg"]
# Level 4 is within 0.1 % of level 6's size on a 512x512 photograph and a quarter faster.
_PNG_LEVEL = 4
_READ_AHEAD = 64  # records held in memory while a shard is read in order


class Record(NamedTuple):
    """One synthetic image and all that is needed to make it again."""

    image: bytes  # encoded PNG or JPEG
    label: int
    label_name: str
    seed_id: int  # index of the real image it was made from
    seed_name: str
    variant: int  # 0 .. n-1 among the images of one seed
    prompt: str
    method: str
    key: tuple[int, int]  # JAX PRNG key data, two uint32: regenerates this image alone


def encode_image(pixels: np.ndarray, *, image_format: ImageFormat, quality: int) -> bytes:
    """Encode one image; the same pixels always give the same bytes.

    Args:
        pixels: uint8 [h, w, 3], 0..255.
        image_format: "png" (lossless) or "jpeg" (4:4:4: small images keep their colour).
        quality: 1..100, JPEG only.

    Raises:
        ValueError: pixels of another shape or dtype, or an unknown format.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"pixels must be uint8 [h, w, 3], got {pixels.dtype} {pixels.shape}")
    out = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if image_format == "png":
        image.save(out, "PNG", compress_level=_PNG_LEVEL, optimize=False)
    elif image_format == "jpeg":
        image.save(out, "JPEG", quality=quality, subsampling=0, optimize=False)
    else:
        raise ValueError(f"image_format must be 'png' or 'jpeg', got {image_format!r}")
    return out.getvalue()


def decode_image(encoded: bytes) -> np.ndarray:
    """Decode to uint8 [h, w, 3]; raises PIL's OSError or SyntaxError on damaged bytes."""
    with Image.open(io.BytesIO(encoded), formats=("PNG", "JPEG")) as image:
        return np.asarray(image.convert("RGB"))


def features(
    *,
    label_names: Sequence[str],
    image_shape: tuple[int | None, int | None, int],
    image_format: ImageFormat,
) -> Any:
    """The `tfds.features.FeaturesDict` of a record; None in `image_shape` where sizes vary.

    Class names are `stored_name`s.
    """
    import tensorflow_datasets as tfds  # slow to import: not before it is needed

    names = [stored_name(name) for name in label_names]
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=image_shape, encoding_format=image_format),
            "label": tfds.features.ClassLabel(names=names),
            "label_name": tfds.features.Text(),
            "seed_id": tfds.features.Scalar(np.int64),
            "seed_name": tfds.features.Text(),
            "variant": tfds.features.Scalar(np.int64),
            "prompt": tfds.features.Text(),
            "method": tfds.features.Text(),
            "key": tfds.features.Tensor(shape=(2,), dtype=np.uint32),
        }
    )


def stored_name(name: str) -> str:
    """A class name as TFDS keeps it, one stripped line each.

    A name with line breaks or outer spaces gets single spaces (the record's own `label_name` keeps
    it as it is).
    """
    if name != name.strip() or "\n" in name or "\r" in name:
        name = " ".join(name.split())
    return _utf8(name).decode()


def serialize(record: Record) -> bytes:
    """A record as the bytes of a `tf.Example`; the same record always gives the same bytes.

    Raises:
        ValueError: a key that is not two uint32.
    """
    from tensorflow_datasets.proto import tf_example_pb2

    if len(record.key) != 2 or not all(0 <= int(word) < 2**32 for word in record.key):
        raise ValueError(f"key must be two uint32, got {record.key!r}")
    example = tf_example_pb2.Example()
    feature = example.features.feature
    feature["image"].bytes_list.value.append(record.image)
    for field in ("label_name", "seed_name", "prompt", "method"):
        feature[field].bytes_list.value.append(_utf8(getattr(record, field)))
    for field in ("label", "seed_id", "variant"):
        feature[field].int64_list.value.append(int(getattr(record, field)))
    feature["key"].int64_list.value.extend(int(word) for word in record.key)
    # Fields are a map, and a map's order on the wire is only fixed on request.
    return example.SerializeToString(deterministic=True)


def deserialize(data: bytes) -> Record:
    """The inverse of `serialize`."""
    from tensorflow_datasets.proto import tf_example_pb2

    feature = tf_example_pb2.Example.FromString(data).features.feature

    def text(field: str) -> str:
        return feature[field].bytes_list.value[0].decode("utf-8")

    def integer(field: str) -> int:
        return int(feature[field].int64_list.value[0])

    first, second = feature["key"].int64_list.value
    return Record(
        image=feature["image"].bytes_list.value[0],
        label=integer("label"),
        label_name=text("label_name"),
        seed_id=integer("seed_id"),
        seed_name=text("seed_name"),
        variant=integer("variant"),
        prompt=text("prompt"),
        method=text("method"),
        key=(int(first), int(second)),
    )


def read_serialized(path: Path) -> Iterator[bytes]:
    """The records of one ArrayRecord file in order, still serialized.

    Raises:
        UserError: the file is missing, truncated or damaged.
    """
    # The module itself: the package's data source also defines absl flags, which --help would list.
    from array_record.python import array_record_module

    try:
        reader = array_record_module.ArrayRecordReader(str(path))
        try:
            count = reader.num_records()
            if count == 0:
                reader.read_all()  # a truncated file claims to be empty; only reading it raises
            for start in range(0, count, _READ_AHEAD):
                yield from reader.read(start, min(start + _READ_AHEAD, count))
        finally:
            reader.close()
    except (RuntimeError, IndexError) as error:
        raise UserError(
            f"{path} cannot be read ({error}). Run the command that made it again: it finds the "
            "damaged shard and makes that one anew."
        ) from error


def read_shard(path: Path) -> Iterator[Record]:
    """The records of one shard in the order they were written; raises as `read_serialized`."""
    for data in read_serialized(path):
        yield deserialize(data)


def _utf8(text: str) -> bytes:
    # Names taken from a file system may hold lone surrogates, which UTF-8 cannot encode.
    return well_formed(text).encode()

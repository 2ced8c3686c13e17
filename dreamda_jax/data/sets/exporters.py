"""The synthetic data set in other people's formats: one function a format, all alike.

Each takes records in order, an existing empty directory, and the class names; each copies the
encoded images byte for byte, and gives the same files for the same records.
"""

import contextlib
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dreamda_jax.data.files import atomic
from dreamda_jax.data.sets.records import Record
from dreamda_jax.data.sources.labels import check_label_names, slug
from dreamda_jax.errors import UserError

_ROW_GROUP = 100  # Hugging Face's row group for images: what one random access has to read
_TEXT_COLUMNS = ("label_name", "seed_name", "prompt", "method")

Exporter = Callable[..., None]


def write_imagefolder(
    records: Iterable[Record], *, output: Path, label_names: Sequence[str], file_bytes: int
) -> None:
    """`<class slug>/<seed>_<variant>.png` and `metadata.jsonl`: Hugging Face's "imagefolder".

    There and in our own image folders `label` is the class name; its index is in `label_id`. JSON
    rather than CSV, as readers of CSV guess types: a class "NA" is no value, and "007" is 7.

    Raises:
        UserError: two class names with one slug.
    """
    del file_bytes  # one file an image
    check_label_names(label_names)
    for name in label_names:
        (output / slug(name)).mkdir()
    columns = {"label_name": "label", "label": "label_id"}
    with (output / "metadata.jsonl").open("xb") as table:
        for record in records:
            name = f"{slug(label_names[record.label])}/{_stem(record)}.{_suffix(record)}"
            with (output / name).open("xb") as image:  # x: two records of one name are a mistake
                image.write(record.image)
            row = {columns.get(field, field): value for field, value in _row(record).items()}
            table.write(atomic.to_json({"file_name": name, **row}, indent=None))


def write_webdataset(
    records: Iterable[Record], *, output: Path, label_names: Sequence[str], file_bytes: int
) -> None:
    """Tars `train-000000.tar` … of `<key>.png`, `.cls` (label) and `.json`, and `label_names.json`.

    A tar is closed before it would exceed `file_bytes`, unless one sample alone does.
    """
    (output / "label_names.json").write_bytes(atomic.to_json(list(label_names)))
    tar: tarfile.TarFile | None = None
    count = size = 0
    try:
        for record in records:
            members = {
                _suffix(record): record.image,
                "cls": str(record.label).encode(),
                "json": atomic.to_json(_row(record), indent=None),
            }
            # A member is a 512-byte header and its content, padded to 512 bytes.
            needed = sum(512 + -(-len(data) // 512) * 512 for data in members.values())
            if tar is not None and size + needed > file_bytes:
                tar.close()
                tar, size = None, 0
            if tar is None:
                path = output / f"train-{count:06d}.tar"
                tar = tarfile.open(path, "x", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
                count += 1
            size += needed
            for suffix, data in members.items():
                # TarInfo's own defaults are fixed: mtime 0, uid and gid 0, mode 0644.
                member = tarfile.TarInfo(f"{_stem(record)}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    finally:
        if tar is not None:
            tar.close()


def write_parquet(
    records: Iterable[Record], *, output: Path, label_names: Sequence[str], file_bytes: int
) -> None:
    """`data/train-00000-of-00002.parquet` … in Hugging Face's layout for images and labels."""
    import pyarrow as pa  # a tenth of a second that the other formats should not cost
    import pyarrow.parquet as pq

    schema = _parquet_schema(pa, label_names)
    (output / "data").mkdir()
    parts: list[Path] = []
    writer, size = None, 0
    for group in _groups(records, max_bytes=file_bytes):
        group_bytes = sum(len(record.image) for record in group)
        if writer is not None and size + group_bytes > file_bytes:
            writer.close()
            writer, size = None, 0
        if writer is None:
            parts.append(output / "data" / f"part-{len(parts)}")
            # No dictionary and no statistics of image bytes: both would store them once more.
            writer = pq.ParquetWriter(
                parts[-1],
                schema,
                use_dictionary=list(_TEXT_COLUMNS),
                write_statistics=["label", "seed_id", "variant"],
            )
        size += group_bytes
        rows = [
            {
                "image": {"bytes": record.image, "path": f"{_stem(record)}.{_suffix(record)}"},
                **_row(record),
            }
            for record in group
        ]
        writer.write_table(pa.Table.from_pylist(rows, schema=schema), row_group_size=len(rows))
    if writer is not None:
        writer.close()
    for index, part in enumerate(parts):  # the names hold the count, known only now
        part.rename(part.with_name(f"train-{index:05d}-of-{len(parts):05d}.parquet"))


def names_read_as_times(label_names: Sequence[str]) -> list[str]:
    """Class names that Arrow's JSON reader, and so Hugging Face's "imagefolder", takes for times.

    It does so where a whole block of rows has such names, which classes in order make likely.
    """
    import pyarrow as pa

    def is_time(name: str) -> bool:
        try:
            pa.array([name]).cast(pa.timestamp("ns"))
        except pa.ArrowInvalid:
            return False
        return True

    return [name for name in label_names if is_time(name)]


EXPORTERS: dict[str, Exporter] = {
    "imagefolder": write_imagefolder,
    "webdataset": write_webdataset,
    "parquet": write_parquet,
}


@contextlib.contextmanager
def staged(output: Path, *, needed: int) -> Iterator[Path]:
    """An empty directory that becomes `output` when the block ends well, and vanishes otherwise.

    Raises:
        UserError: `output` exists and is not an empty directory, cannot be written, or the disk is
            full.
    """
    output = Path(output).absolute()
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        atomic.remove_leftovers(output.parent)
        _refuse_if_taken(output)
        with atomic.temporary(output) as scratch:
            scratch.mkdir()
            with atomic.disk_full_is_a_user_error(output.parent, needed=needed):
                yield scratch
            _refuse_if_taken(output)  # by someone else in the meantime
            scratch.rename(output)  # replaces an empty directory
    except (PermissionError, NotADirectoryError, FileExistsError) as error:
        raise UserError(f"{output} cannot be written ({error}). Give another one.") from error


def _refuse_if_taken(output: Path) -> None:
    if output.is_dir() and not any(output.iterdir()):
        return
    if output.exists() or output.is_symlink():
        raise UserError(f"The output {output} exists and is not empty. Give a new directory.")


def _stem(record: Record) -> str:
    return f"{record.seed_id:06d}_{record.variant:03d}"


def _suffix(record: Record) -> str:
    return "png" if record.image.startswith(b"\x89PNG") else "jpg"


def _columns() -> list[str]:
    return ["label", "label_name", "seed_id", "seed_name", "variant", "prompt", "method", "key"]


def _row(record: Record) -> dict[str, Any]:
    """All of a record but the image; the key as one hexadecimal number, text to every reader."""
    row = record._asdict() | {"key": "0x{:08x}{:08x}".format(*record.key)}
    return {name: row[name] for name in _columns()}


def _groups(records: Iterable[Record], *, max_bytes: int) -> Iterator[list[Record]]:
    """Records for one row group each: a fixed number, fewer where they would exceed a file."""
    group: list[Record] = []
    size = 0
    for record in records:
        if group and (len(group) == _ROW_GROUP or size + len(record.image) > max_bytes):
            yield group
            group, size = [], 0
        group.append(record)
        size += len(record.image)
    if group:
        yield group


def _parquet_schema(pa: Any, label_names: Sequence[str]) -> Any:
    """Columns, and the description by which `datasets` knows images and class labels."""
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    fields = [pa.field("image", image)]
    described: dict[str, Any] = {"image": {"_type": "Image"}}
    for name in _columns():
        is_text = name in (*_TEXT_COLUMNS, "key")
        fields.append(pa.field(name, pa.string() if is_text else pa.int64()))
        described[name] = {"dtype": "string" if is_text else "int64", "_type": "Value"}
    described["label"] = {"names": list(label_names), "_type": "ClassLabel"}
    info = json.dumps({"info": {"features": described}})
    return pa.schema(fields, metadata={"huggingface": info})

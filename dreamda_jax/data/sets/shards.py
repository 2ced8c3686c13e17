"""Shards of the synthetic data set: which there are, writing one, finding what is missing.

A shard is a fixed set of consecutive seed images with all their variants, the unit of work, of
resumption and of output (design page, section 5). It counts as done when its file has the bytes
that its marker names, and the marker is of this shard and of this run (`layout`, `marks`).
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from dreamda_jax.data.files import atomic, run_directory
from dreamda_jax.data.files.digests import sha256_of
from dreamda_jax.data.sets import marks, records
from dreamda_jax.data.sets.layout import Layout
from dreamda_jax.data.sets.marks import Skipped, read_marker
from dreamda_jax.errors import UserError

__all__ = [
    *(
        "Layout",
        "ShardState",
        "Skipped",
        "missing_shards",
        "num_skipped",
        "read_marker",
        "remove_leftovers",
    ),
    *("verify_shard", "write_shard"),
]

# One record a group: random access. Uncompressed: the images already are, and the bytes of a shard
# then do not depend on the version of a compressor.
_WRITER_OPTIONS = "group_size:1,uncompressed"
_LOG = logging.getLogger(__name__)


class ShardState(NamedTuple):
    """What `verify_shard` found; `reason` is empty unless the shard is damaged."""

    status: Literal["done", "missing", "damaged"]
    reason: str = ""


def write_shard(
    layout: Layout,
    shard: int,
    shard_records: Iterable[records.Record],
    skipped: Iterable[Skipped],
) -> None:
    """Write one shard and its marker; the same records give the same bytes.

    Nothing stands under a final name before it was closed, read back and compared, decoded and
    synced. A shard whose seed images were all skipped becomes a file without records: TFDS reads a
    data set with such a shard.

    Raises:
        UserError: no space on the disk.
        ValueError: a record or a skipped seed image that belongs to another shard.
        OSError: an image that does not decode; a file system that returns other bytes.
    """
    shard_records, skipped = list(shard_records), sorted(skipped)
    seed_ids = layout.seed_ids(shard)
    given = {entry.seed_id for entry in shard_records} | {entry.seed_id for entry in skipped}
    if not given.issubset(seed_ids):
        strangers = sorted(given.difference(seed_ids))
        raise ValueError(f"seed images {strangers} are not of shard {shard} ({seed_ids})")
    serialized = [records.serialize(record) for record in shard_records]
    needed = sum(map(len, serialized))
    final = layout.path(shard)
    with atomic.disk_full_is_a_user_error(layout.directory, needed=needed):
        layout.marker(shard).parent.mkdir(parents=True, exist_ok=True)
        with atomic.temporary(final) as scratch:
            _write_array_record(scratch, serialized)
            _compare_and_decode(scratch, serialized)
            mark = marks.content(
                layout,
                shard,
                sha256=sha256_of(scratch),
                num_bytes=scratch.stat().st_size,
                labels=[record.label for record in shard_records],
                skipped=skipped,
                settings=run_directory.settings_digest(layout.directory),
            )
            atomic.replace_durably(scratch, final)
        atomic.write_atomically(layout.marker(shard), mark)


def verify_shard(layout: Layout, shard: int, *, checksum: bool = True) -> ShardState:
    """Compare a shard with its marker; without `checksum` only the size is compared (fast).

    A marker of 0.1 does not say which seed images it is of: with `checksum` the records do.

    Raises:
        UserError: what has the name of the shard or of its marker is no file.
    """
    path, marker_path = layout.path(shard), layout.marker(shard)
    for file in (path, marker_path):
        if file.exists() and not file.is_file():
            raise UserError(
                f"{file} is {'a folder' if file.is_dir() else 'no plain file'}, where a file of "
                "the data set belongs. Move it away and run the same command again."
            )
    if not marker_path.exists():
        if not path.exists():
            return ShardState("missing")
        return ShardState("damaged", "it has no done marker: the run stopped there")
    try:
        marker = read_marker(layout, shard)
    except ValueError as error:
        return ShardState("damaged", f"its done marker cannot be believed: {error}")
    if _is_of_another_run(marker, run_directory.settings_digest(layout.directory)):
        return ShardState("damaged", "it is of a run with other settings")
    if not path.exists():
        return ShardState("damaged", "its file is gone")
    size = path.stat().st_size
    if size != marker["bytes"]:
        return ShardState("damaged", f"it has {size:,} bytes instead of {marker['bytes']:,}")
    if checksum and sha256_of(path) != marker["sha256"]:
        return ShardState("damaged", "its checksum differs")
    if checksum and marks.is_of_0_1(marker):
        return _compare_records(layout, shard, marker)
    return ShardState("done")


def missing_shards(
    layout: Layout,
    *,
    shards: Iterable[int] | None = None,
    checksum: bool = True,
    remove_damaged: bool = True,
    report: Callable[[str], object] = _LOG.warning,
) -> list[int]:
    """The shards (of `shards`, by default of all) still to be made, in order.

    Damaged ones are reported and, unless `remove_damaged` is False (a dry run), removed; the data
    set's metadata goes with them, so that nobody reads a data set with a hole. A host among several
    looks at its own `shards` only. Markers of 0.1, which name no run, are counted in one line.

    Raises:
        UserError: not one finished shard was made under the settings in config.json; a folder has
            a file's name.
    """
    _refuse_a_foreign_config(layout)
    missing, unnamed = [], 0
    for shard in range(layout.num_shards) if shards is None else shards:
        state = verify_shard(layout, shard, checksum=checksum)
        if state.status == "damaged":
            report(f"{layout.path(shard).name} is made again: {state.reason}.")
            if remove_damaged:
                (layout.directory / "dataset_info.json").unlink(missing_ok=True)
                # A file without a marker may be one that another host is just about to mark, and
                # is overwritten anyway; one that differs from its marker is of no use to anybody.
                if layout.marker(shard).exists():
                    layout.marker(shard).unlink(missing_ok=True)
                    layout.path(shard).unlink(missing_ok=True)
        if state.status != "done":
            missing.append(shard)
        else:
            unnamed += marks.is_of_0_1(read_marker(layout, shard))
    if unnamed:
        report(
            f"note      {unnamed:,} shards were finished by 0.1, whose marks do not say by which "
            "run: they count as this one's"
        )
    return missing


def num_skipped(layout: Layout, finished: Iterable[int]) -> int:
    """How many seed images of these finished shards have no variants."""
    return sum(len(read_marker(layout, shard)["skipped"]) for shard in finished)


def remove_leftovers(layout: Layout) -> list[Path]:
    """Clear what dead processes left half-written; call it at the start of a run."""
    directories = (layout.directory, layout.directory / "done", layout.directory / "learned")
    return [path for directory in directories for path in atomic.remove_leftovers(directory)]


def _is_of_another_run(marker: dict[str, Any], settings: str | None) -> bool:
    theirs = marker.get("settings_sha256")
    return theirs is not None and settings is not None and theirs != settings


def _refuse_a_foreign_config(layout: Layout) -> None:
    """Where no shard at all is of the run that config.json tells of, it is the one to doubt.

    Else a whole set would be made again because of one wrong file.
    """
    settings = run_directory.settings_digest(layout.directory)
    found = []
    for shard in range(layout.num_shards):
        try:
            found.append(read_marker(layout, shard))
        except (OSError, ValueError):
            continue
    if found and all(_is_of_another_run(marker, settings) for marker in found):
        raise UserError(
            f"Of the {len(found)} finished shards in {layout.directory} none was made under the "
            "settings in its config.json. Restore the config.json of that run; or, to make all "
            "shards again, move the folder `done` away."
        )


def _compare_records(layout: Layout, shard: int, marker: dict[str, Any]) -> ShardState:
    """Whether the records are of the seed images that a marker of 0.1 stands for."""
    skipped = {entry["seed_id"] for entry in marker["skipped"]}
    expected = [seed for seed in layout.seed_ids(shard) if seed not in skipped]
    try:
        found = [record.seed_id for record in records.read_shard(layout.path(shard))]
    except UserError as error:
        return ShardState("damaged", str(error))
    if len(found) != marker["num_records"] or sorted(set(found)) != expected:
        return ShardState("damaged", "its records are not those that its done marker names")
    return ShardState("done")


def _write_array_record(path: Path, serialized: Sequence[bytes]) -> None:
    from array_record.python import array_record_module

    writer = array_record_module.ArrayRecordWriter(str(path), _WRITER_OPTIONS)
    for data in serialized:
        writer.write(data)
    writer.close()  # the writing happens in the background: a full disk shows here


def _compare_and_decode(path: Path, serialized: Sequence[bytes]) -> None:
    count = 0
    for count, data in enumerate(records.read_serialized(path), start=1):
        if count > len(serialized) or data != serialized[count - 1]:
            raise OSError(f"{path}: record {count} was not read back as it was written")
        records.decode_image(records.deserialize(data).image)
    if count != len(serialized):
        raise OSError(f"{path}: {len(serialized)} records written, {count} read back")

"""Shards of the synthetic data set: which there are, writing one, finding what is missing.

A shard is a fixed set of consecutive seed images with all their variants, the unit of work, of
resumption and of output (design page, section 5). It counts as done when its file has the bytes
that its marker names:

    DIR/<name>-<split>.array_record-00003-of-00025    the records
    DIR/done/<name>-<split>-00003-of-00025.json       checksum, counts, skipped seed images
"""

import json
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from dreamda_jax.data.files import atomic
from dreamda_jax.data.files.digests import sha256_of
from dreamda_jax.data.sets import records

# One record a group: random access. Uncompressed: the images already are, and the bytes of a shard
# then do not depend on the version of a compressor.
_WRITER_OPTIONS = "group_size:1,uncompressed"
_LOG = logging.getLogger(__name__)


class Skipped(NamedTuple):
    """A seed image that could not be used."""

    seed_id: int
    name: str
    reason: str


class ShardState(NamedTuple):
    """What `verify_shard` found; `reason` is empty unless the shard is damaged."""

    status: Literal["done", "missing", "damaged"]
    reason: str = ""


@dataclass(frozen=True)
class Layout:
    """Names of the files of one data set, and which seed images belong to which shard."""

    directory: Path
    name: str
    num_shards: int
    num_seeds: int
    seeds_per_shard: int
    split: str = "train"

    def __post_init__(self) -> None:
        for value in (self.name, self.split):
            if not re.fullmatch(r"[a-z][a-z0-9_]*", value):
                raise ValueError(f"TFDS names are lower case, digits and _, got {value!r}")
        if self.num_seeds < 1 or self.seeds_per_shard < 1:
            raise ValueError("num_seeds and seeds_per_shard must be at least 1")
        if self.num_shards != -(-self.num_seeds // self.seeds_per_shard):
            raise ValueError(
                f"{self.num_seeds} seed images, {self.seeds_per_shard} a shard, do not make "
                f"{self.num_shards} shards"
            )

    @classmethod
    def for_seeds(
        cls, directory: Path, *, name: str, num_seeds: int, seeds_per_shard: int
    ) -> "Layout":
        """The layout of a new data set: as many shards as the seed images need.

        `name` may be any text: what TFDS does not take in a name becomes "_".
        """
        name = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
        name = name if name[:1].isalpha() else f"data_{name}".rstrip("_")
        num_shards = -(-num_seeds // seeds_per_shard)
        return cls(Path(directory), name, num_shards, num_seeds, seeds_per_shard)

    def path(self, shard: int) -> Path:
        """The ArrayRecord file of a shard."""
        part = self._part(shard)
        return self.directory / f"{self.name}-{self.split}.array_record-{part}"

    def marker(self, shard: int) -> Path:
        """The done marker of a shard."""
        return self.directory / "done" / f"{self.name}-{self.split}-{self._part(shard)}.json"

    def seed_ids(self, shard: int) -> range:
        """The seed images of a shard; the last shard may have fewer."""
        self._part(shard)
        first = shard * self.seeds_per_shard
        return range(first, min(first + self.seeds_per_shard, self.num_seeds))

    def _part(self, shard: int) -> str:
        if not 0 <= shard < self.num_shards:
            raise ValueError(f"shard {shard} of {self.num_shards}")
        return f"{shard:05d}-of-{self.num_shards:05d}"


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
            content = {
                "sha256": sha256_of(scratch),
                "bytes": scratch.stat().st_size,
                "num_records": len(serialized),
                "num_seeds": layout.num_seeds,
                "seeds_per_shard": layout.seeds_per_shard,
                "skipped": [entry._asdict() for entry in skipped],
            }
            atomic.replace_durably(scratch, final)
        atomic.write_atomically(layout.marker(shard), atomic.to_json(content))


def verify_shard(layout: Layout, shard: int, *, checksum: bool = True) -> ShardState:
    """Compare a shard with its marker; without `checksum` only the size is compared (fast)."""
    path, marker_path = layout.path(shard), layout.marker(shard)
    if not marker_path.exists():
        if not path.exists():
            return ShardState("missing")
        return ShardState("damaged", "it has no done marker: the run stopped there")
    try:
        marker = read_marker(layout, shard)
    except ValueError as error:
        return ShardState("damaged", f"its done marker is unreadable: {error}")
    if not path.exists():
        return ShardState("damaged", "its file is gone")
    size = path.stat().st_size
    if size != marker["bytes"]:
        return ShardState("damaged", f"it has {size:,} bytes instead of {marker['bytes']:,}")
    if checksum and sha256_of(path) != marker["sha256"]:
        return ShardState("damaged", "its checksum differs")
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
    looks at its own `shards` only.
    """
    missing = []
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
    return missing


def remove_leftovers(layout: Layout) -> list[Path]:
    """Clear what dead processes left half-written; call it at the start of a run."""
    directories = (layout.directory, layout.directory / "done", layout.directory / "learned")
    return [path for directory in directories for path in atomic.remove_leftovers(directory)]


def read_marker(layout: Layout, shard: int) -> dict[str, Any]:
    """The content of a done marker: sha256, bytes, num_records, skipped and the cut into shards.

    Raises:
        ValueError: it is damaged, or of a data set cut into other shards.
        OSError: it cannot be read.
    """
    marker = json.loads(layout.marker(shard).read_bytes())
    fields = {"sha256", "bytes", "num_records", "num_seeds", "seeds_per_shard", "skipped"}
    if not isinstance(marker, dict) or set(marker) != fields:
        raise ValueError("its fields are not those of a done marker")
    if (marker["num_seeds"], marker["seeds_per_shard"]) != (
        layout.num_seeds,
        layout.seeds_per_shard,
    ):
        raise ValueError("it belongs to a data set cut into other shards")
    return marker


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

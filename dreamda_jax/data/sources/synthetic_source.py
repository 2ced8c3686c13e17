"""A finished synthetic data set as a source of labelled images, read at random."""

import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any, SupportsIndex

from dreamda_jax.data.sets import dataset, metadata, records, shards
from dreamda_jax.data.sources.source import Example, checked_index, listing_fingerprint
from dreamda_jax.errors import UserError

# Of the system's limit, 1024 by default; a set of 10,000 seed images has 1,250 shards. Opening one
# takes 0.1 to 0.2 ms, a twentieth of decoding a 512x512 image.
_MAX_OPEN_FILES = 128


class SyntheticSource:
    """The images that `python -m dreamda_jax.generate` made, as a `sources.Source`.

    Where an image lies follows from the shards' done markers, so no record is read before it is
    asked for: a shard holds, seed by seed, all variants of its seed images but those skipped. The
    order is the records' own: seed image by seed image, variant by variant.

    `source[i].content` is the encoded image, its name the seed image's with "/variant". Indexing
    is safe from several threads; files are opened as they are needed, in each process anew.

    `empty_classes` are those without an image, as far as the markers tell.

    Args:
      directory: the run's output directory.
      expansion: how many variants of each seed image to take, the first ones (variant 0 to
        `expansion` - 1); 0 takes all.

    Raises:
      UserError: no such set, not finished, damaged as far as file sizes tell, without any image,
        or with fewer variants than asked for. On reading: a damaged record.
    """

    def __init__(self, directory: str | os.PathLike[str], *, expansion: int = 0) -> None:
        found = dataset.open_finished(Path(directory), checksum=False)
        layout = found.layout
        self.name, self.label_names = layout.name, tuple(found.label_names)
        self._layout = layout
        self._seeds: list[int] = []
        self._seeds_before: list[int] = []  # in the shards before each
        made = set()
        labels: set[int] | None = set()  # None: 0.1 did not write them down
        digests = []
        for shard in range(layout.num_shards):
            marker = shards.read_marker(layout, shard)
            skipped = {entry["seed_id"] for entry in marker["skipped"]}
            usable = [seed for seed in layout.seed_ids(shard) if seed not in skipped]
            self._seeds_before.append(len(self._seeds))
            self._seeds += usable
            if usable or marker["num_records"]:
                made.add(marker["num_records"] / max(1, len(usable)))
            digests.append(marker["sha256"])
            counts = marker.get("images_by_label")
            labels = None if labels is None or counts is None else labels | {*map(int, counts)}
        if not self._seeds or made == {0}:
            raise UserError(
                f"There are no images in {layout.directory}: every seed image was skipped (the "
                "reasons are in its skipped.jsonl). Expand another set."
            )
        self._num_variants = int(max(made))
        if made != {self._num_variants}:
            raise UserError(
                f"The shards of {layout.directory} hold {sorted(made)} images for each seed image, "
                "which should be one whole number: they are not one run's. Make the set again in "
                "an empty directory with `python -m dreamda_jax.generate`."
            )
        if not 0 <= expansion <= self._num_variants:
            raise UserError(
                f"{layout.directory} has {self._num_variants} variants of each seed image, so an "
                f"expansion of {expansion} cannot be taken. Give 1 to {self._num_variants}, or 0 "
                "for all; or make a set with a larger synthesis.num_variants."
            )
        self._expansion = expansion or self._num_variants
        names = enumerate(self.label_names)
        self.empty_classes = tuple(n for i, n in names if labels is not None and i not in labels)
        self._digests = digests
        self._reset_files()

    def __len__(self) -> int:
        return len(self._seeds) * self._expansion

    def __getitem__(self, index: SupportsIndex) -> Example:
        place = checked_index(index, len(self))
        rank, variant = divmod(place, self._expansion)
        seed = self._seeds[rank]
        shard = seed // self._layout.seeds_per_shard
        position = (rank - self._seeds_before[shard]) * self._num_variants + variant
        record = self._read(shard, position)
        if (record.seed_id, record.variant) != (seed, variant):
            raise UserError(
                f"Record {position} of {self._layout.path(shard)} is variant {record.variant} of "
                f"seed image {record.seed_id} where variant {variant} of {seed} should be: the "
                "set was not made by `python -m dreamda_jax.generate`, or its files were mixed up. "
                "Make it again in an empty directory."
            )
        metadata.check_label(record, self.label_names, self._layout.directory)
        return Example(place, f"{record.seed_name}/{variant}", record.label, record.image)

    def seed_of(self, index: SupportsIndex) -> tuple[int, int]:
        """(seed image id, variant) of an example, without reading it."""
        rank, variant = divmod(checked_index(index, len(self)), self._expansion)
        return self._seeds[rank], variant

    @property
    def record_files(self) -> tuple[Path, ...]:
        """The shards."""
        return tuple(self._layout.path(shard) for shard in range(self._layout.num_shards))

    def fingerprint(self) -> str:
        """Sha256 (hex) of the shards' checksums, the class names and the expansion."""
        header = {
            "source": "synthetic",
            "label_names": list(self.label_names),
            "expansion": self._expansion,
            "shards": self._digests,
        }
        return listing_fingerprint(header, ())

    def _read(self, shard: int, position: int) -> records.Record:
        try:
            return records.deserialize(self._file(shard).read([position])[0])
        # The reader raises RuntimeError, and gives empty bytes where the file has become shorter;
        # parsing whatever it gave raises protobuf's DecodeError, ValueError or IndexError.
        except Exception as error:
            raise UserError(
                f"Record {position} of {self._layout.path(shard)} cannot be read "
                f"({type(error).__name__}: {error}). Run the command that made the set again: it "
                "finds the damaged shard and makes that one anew."
            ) from error

    def _file(self, shard: int) -> Any:
        """The shard's open reader; the one used least recently is closed to make room."""
        # The module itself: the package's data source also defines absl flags, which --help lists.
        from array_record.python import array_record_module

        with self._lock:
            reader = self._files.pop(shard, None)
            if reader is None:
                reader = array_record_module.ArrayRecordReader(
                    str(self._layout.path(shard)),
                    options="readahead_buffer_size:0",  # what random access wants
                    file_reader_buffer_size=32768,
                )
            self._files[shard] = reader
            # Dropped, not closed: another thread may be reading. Its last user closes it.
            while len(self._files) > _MAX_OPEN_FILES:
                self._files.popitem(last=False)
            return reader

    def _reset_files(self) -> None:
        # What `records.deserialize` needs, here where a process has no reading threads yet: the
        # lazy modules of tensorflow_datasets deadlock when two threads import it at once.
        from tensorflow_datasets.proto import tf_example_pb2

        tf_example_pb2.Example()
        self._files: OrderedDict[int, Any] = OrderedDict()
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key not in ("_files", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._reset_files()

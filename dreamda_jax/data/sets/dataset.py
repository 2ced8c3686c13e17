"""The synthetic data set as a whole: its TFDS metadata, and opening it again.

Beside the shards stand `features.json`, `label.labels.txt` and `dataset_info.json` (TFDS' metadata,
written last) and `skipped.jsonl` (every skipped seed image and why).
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from dreamda_jax.data.files import atomic
from dreamda_jax.data.sets import records
from dreamda_jax.data.sets.shards import Layout, Skipped, read_marker, verify_shard
from dreamda_jax.errors import UserError

_CONTINUE = (
    "Run the `python -m dreamda_jax.generate` command that made it again: it continues with what "
    "is missing."
)


class Summary(NamedTuple):
    """What a finished data set holds."""

    num_records: int
    num_skipped: int
    num_bytes: int


class Finished(NamedTuple):
    """A complete data set, ready to be read."""

    layout: Layout
    label_names: list[str]
    image_format: records.ImageFormat
    num_records: int
    num_bytes: int


def finish(
    layout: Layout,
    *,
    label_names: Sequence[str],
    image_shape: tuple[int | None, int | None, int],
    image_format: records.ImageFormat,
    description: str = "",
) -> Summary:
    """Write `skipped.jsonl` and the TFDS metadata, `dataset_info.json` last.

    Running it twice, or on two hosts at once, writes the same bytes. It looks at names and sizes;
    checksums were `missing_shards`' work.

    Raises:
        UserError: a shard is missing, no image at all was made, or the disk is full.
    """
    states = [verify_shard(layout, shard, checksum=False) for shard in range(layout.num_shards)]
    unfinished = [shard for shard, state in enumerate(states) if state.status != "done"]
    if unfinished:
        raise UserError(
            f"{layout.directory}: {len(unfinished)} of {layout.num_shards} shards are missing "
            f"(the first is {unfinished[0]}). {_CONTINUE}"
        )
    markers = [read_marker(layout, shard) for shard in range(layout.num_shards)]
    skipped = sorted(Skipped(**entry) for marker in markers for entry in marker["skipped"])
    lengths = [marker["num_records"] for marker in markers]
    with atomic.disk_full_is_a_user_error(layout.directory, needed=100_000):
        lines = b"".join(atomic.to_json(entry._asdict(), indent=None) for entry in skipped)
        atomic.write_atomically(layout.directory / "skipped.jsonl", lines)
        if sum(lengths) == 0:
            raise UserError(
                f"No image was made: all {len(skipped)} seed images were skipped. The reasons are "
                f"in {layout.directory / 'skipped.jsonl'}."
            )
        described = records.features(
            label_names=label_names, image_shape=image_shape, image_format=image_format
        )
        with atomic.temporary(layout.directory / "metadata") as scratch:
            scratch.mkdir()
            described.save_config(str(scratch))
            for path in sorted(scratch.iterdir()):
                atomic.replace_durably(path, layout.directory / path.name)
        summary = Summary(sum(lengths), len(skipped), sum(marker["bytes"] for marker in markers))
        info = _dataset_info(layout, lengths, summary, description)
        atomic.write_atomically(layout.directory / "dataset_info.json", info)
    return summary


def read_layout(directory: Path) -> Layout:
    """The layout of the data set in a run's directory, finished or not, from its done markers.

    Raises:
        UserError: there is none.
    """
    directory = Path(directory)
    for path in sorted(directory.glob("done/*-*-?????-of-?????.json")):
        name, split, _, _, num_shards = path.stem.rsplit("-", 4)
        try:
            marker = json.loads(path.read_bytes())
            return Layout(
                directory=directory,
                name=name,
                split=split,
                num_shards=int(num_shards),
                num_seeds=marker["num_seeds"],
                seeds_per_shard=marker["seeds_per_shard"],
            )
        except (ValueError, KeyError, TypeError):
            continue  # a damaged marker: another one tells the same
    raise UserError(
        f"{directory} holds no synthetic data set with a finished shard. Give the output directory "
        "of `python -m dreamda_jax.generate`."
    )


def open_finished(directory: Path, *, checksum: bool = True) -> Finished:
    """Check that a data set is complete and say what it holds; the records: `read_records`.

    Raises:
        UserError: it is not there, a shard is missing or damaged, or the metadata is missing.
    """
    layout = read_layout(directory)
    unfinished = []
    for shard in range(layout.num_shards):
        state = verify_shard(layout, shard, checksum=checksum)
        if state.status != "done":
            unfinished.append(f"{layout.path(shard).name}: {state.reason or 'not made yet'}")
    if unfinished:
        raise UserError(
            f"{layout.directory} is not complete: {len(unfinished)} of {layout.num_shards} shards "
            f"are missing or damaged (the first is {unfinished[0]}). {_CONTINUE}"
        )
    try:
        labels = (layout.directory / "label.labels.txt").read_text(encoding="utf-8")
        features = json.loads((layout.directory / "features.json").read_bytes())
        image = features["featuresDict"]["features"]["image"]["image"]
        json.loads((layout.directory / "dataset_info.json").read_bytes())
        image_format = image["encodingFormat"]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{layout.directory}: all shards are there, but not the metadata ({error}). {_CONTINUE}"
        ) from error
    markers = [read_marker(layout, shard) for shard in range(layout.num_shards)]
    return Finished(
        layout=layout,
        label_names=[name for name in labels.split("\n") if name],
        image_format=image_format,
        num_records=sum(marker["num_records"] for marker in markers),
        num_bytes=sum(marker["bytes"] for marker in markers),
    )


def read_records(source: Layout | Path) -> Iterator[records.Record]:
    """All records of a data set in the order of shards, read sequentially.

    Raises:
        UserError: a shard is missing, truncated or damaged.
    """
    layout = source if isinstance(source, Layout) else read_layout(source)
    for shard in range(layout.num_shards):
        state = verify_shard(layout, shard, checksum=False)
        if state.status != "done":
            reason = state.reason or "it was not made yet"
            raise UserError(f"{layout.path(shard)} cannot be read: {reason}. {_CONTINUE}")
        yield from records.read_shard(layout.path(shard))


def _dataset_info(
    layout: Layout, lengths: Sequence[int], summary: Summary, description: str
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
                num_bytes=summary.num_bytes,
                filepath_template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
            )
        ],
    )
    info.supervised_keys.input, info.supervised_keys.output = "image", "label"
    return atomic.to_json(json_format.MessageToDict(info))

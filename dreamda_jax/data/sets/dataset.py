"""The synthetic data set as a whole: its TFDS metadata, and opening it again.

Beside the shards stand TFDS' metadata (`metadata`, written last) and `skipped.jsonl` (every skipped
seed image and why).
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dreamda_jax.data.files import atomic, json_text
from dreamda_jax.data.sets import metadata, records
from dreamda_jax.data.sets.layout import Layout
from dreamda_jax.data.sets.marks import Skipped, read_marker
from dreamda_jax.data.sets.shards import verify_shard
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
    checksums were `missing_shards`' work. What is there as it should be is left alone.

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
        atomic.write_if_changed(layout.directory / "skipped.jsonl", lines)
        if sum(lengths) == 0:
            raise UserError(
                f"No image was made: all {len(skipped)} seed images were skipped. The reasons are "
                f"in {layout.directory / 'skipped.jsonl'}."
            )
        summary = Summary(sum(lengths), len(skipped), sum(marker["bytes"] for marker in markers))
        metadata.write(
            layout,
            label_names=label_names,
            image_shape=image_shape,
            image_format=image_format,
            lengths=lengths,
            num_bytes=summary.num_bytes,
            description=description,
        )
    return summary


def read_layout(directory: Path) -> Layout:
    """The layout of the data set in a run's directory, finished or not, from its done markers.

    Raises:
        UserError: there is none.
    """
    directory = Path(directory)
    for path in sorted(directory.glob("done/*-*-?????-of-?????.json")):
        if not path.is_file():
            continue  # verifying the shard says so
        name, split, number, _, num_shards = path.stem.rsplit("-", 4)
        try:
            marker = json_text.parse(path.read_bytes())
            layout = Layout(
                directory=directory,
                name=name,
                split=split,
                num_shards=int(num_shards),
                num_seeds=marker["num_seeds"],
                seeds_per_shard=marker["seeds_per_shard"],
            )
            read_marker(layout, int(number))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # a damaged marker: another one tells the same
        return layout
    raise UserError(
        f"{directory} holds no synthetic data set with a finished shard. Give the output directory "
        "of `python -m dreamda_jax.generate`."
    )


def open_finished(directory: Path, *, checksum: bool = True) -> Finished:
    """Check that a data set is complete and say what it holds; the records: `read_records`.

    Raises:
        UserError: it is not there, a shard is missing or damaged, or the metadata is missing or
            not what it was when the set was finished.
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
    label_names, image_format = metadata.read(layout.directory, what_to_do=_CONTINUE)
    markers = [read_marker(layout, shard) for shard in range(layout.num_shards)]
    _refuse_several_runs(layout.directory, markers)
    return Finished(
        layout=layout,
        label_names=label_names,
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


def checked_records(found: Finished) -> Iterator[records.Record]:
    """The records of a set, each compared with the class list; raises as `read_records`, too."""
    for record in read_records(found.layout):
        yield metadata.check_label(record, found.label_names, found.layout.directory)


def _refuse_several_runs(directory: Path, markers: Sequence[Mapping[str, Any]]) -> None:
    """Marks of several settings, where no config.json tells whose they should be."""
    runs = {marker.get("settings_sha256") for marker in markers} - {None}
    if len(runs) > 1:
        raise UserError(
            f"The shards of {directory} were made under {len(runs)} different settings: they are "
            "not one run's. Restore its config.json and run its command again."
        )

"""Done markers: what is said of a shard once it is whole, and reading that with suspicion.

    bytes, sha256                      of the shard's file
    num_records, images_by_label       what is in it: all, and by label (a number, as text)
    first_seed_id, last_seed_id        its seed images, those skipped included
    skipped                            of them those without images: seed_id, name, reason
    num_seeds, seeds_per_shard         how the set is cut into shards
    settings_sha256                    of the settings in config.json; null where there was none
    mark_sha256                        of all this

Markers of 0.1 have neither seed ids, labels, settings nor a checksum of their own.
"""

import collections
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from dreamda_jax.data.files import atomic, json_text
from dreamda_jax.data.files.digests import sha256_of_bytes
from dreamda_jax.data.sets.layout import Layout

_FIELDS_OF_0_1 = {"sha256", "bytes", "num_records", "num_seeds", "seeds_per_shard", "skipped"}
_FIELDS_SINCE = {"first_seed_id", "last_seed_id", "images_by_label", "settings_sha256"}
_OWN = "mark_sha256"


class Skipped(NamedTuple):
    """A seed image that could not be used."""

    seed_id: int
    name: str
    reason: str


def content(
    layout: Layout,
    shard: int,
    *,
    sha256: str,
    num_bytes: int,
    labels: Iterable[int],
    skipped: Iterable[Skipped],
    settings: str | None,
) -> bytes:
    """A done marker as it stands on the disk.

    Args:
        layout: of the set.
        shard: which.
        sha256: of its file, hex.
        num_bytes: of its file.
        labels: of its records.
        skipped: seed images without records.
        settings: sha256 of those in config.json; None where there is none.
    """
    counts = collections.Counter(labels)
    ids = layout.seed_ids(shard)
    mark = {
        "sha256": sha256,
        "bytes": num_bytes,
        "num_records": counts.total(),
        "images_by_label": {str(label): count for label, count in counts.items()},
        "num_seeds": layout.num_seeds,
        "seeds_per_shard": layout.seeds_per_shard,
        "first_seed_id": ids[0],
        "last_seed_id": ids[-1],
        "skipped": [entry._asdict() for entry in skipped],
        "settings_sha256": settings,
    }
    return atomic.to_json({**mark, _OWN: _own_digest(mark)})


def read_marker(layout: Layout, shard: int) -> dict[str, Any]:
    """The content of a done marker; the fields are this module's.

    Raises:
        ValueError: it is damaged, of another shard, or of a data set cut into other shards.
        OSError: it cannot be read.
    """
    path = layout.marker(shard)
    if path.exists() and not path.is_file():  # reading a pipe would wait for ever
        raise ValueError("it is no file")
    mark = json_text.parse(path.read_bytes())
    if not isinstance(mark, dict):
        raise ValueError("its fields are not those of a done marker")
    own = mark.pop(_OWN, None)
    fields = _FIELDS_OF_0_1 if own is None else _FIELDS_OF_0_1 | _FIELDS_SINCE
    if set(mark) != fields:
        raise ValueError("its fields are not those of a done marker")
    if own is not None and own != _own_digest(mark):
        raise ValueError("its own checksum differs")
    for name in ("num_seeds", "seeds_per_shard", "num_records", "bytes"):
        if type(mark[name]) is not int or mark[name] < 0:  # True is no number here
            raise ValueError(f"{name} is {mark[name]!r:.40}")
    if (mark["num_seeds"], mark["seeds_per_shard"]) != (layout.num_seeds, layout.seeds_per_shard):
        raise ValueError("it belongs to a data set cut into other shards")
    if not _is_digest(mark["sha256"]):
        raise ValueError(f"sha256 is {mark['sha256']!r:.40}")
    ids = layout.seed_ids(shard)
    if own is not None and (mark["first_seed_id"], mark["last_seed_id"]) != (ids[0], ids[-1]):
        raise ValueError(
            f"it is of the seed images {mark['first_seed_id']} to {mark['last_seed_id']}"
        )
    _check_skipped(mark["skipped"], ids)
    if own is None:
        _check_number(mark, ids)
    return mark


def is_of_0_1(mark: Mapping[str, Any]) -> bool:
    """Whether a marker says neither which run it is of nor which seed images."""
    return "settings_sha256" not in mark


def _check_skipped(skipped: Any, ids: range) -> None:
    """Whether it is a list of seed images of the shard, none twice.

    Raises:
        ValueError: it is not so.
    """
    if not isinstance(skipped, list):
        raise ValueError(f"skipped is {skipped!r:.40}")
    for entry in skipped:
        if (
            not isinstance(entry, dict)
            or set(entry) != set(Skipped._fields)
            or type(entry["seed_id"]) is not int
            or entry["seed_id"] not in ids
            or not isinstance(entry["name"], str)
            or not isinstance(entry["reason"], str)
        ):
            raise ValueError(f"it says that {entry!r:.80} was skipped")
    if len({entry["seed_id"] for entry in skipped}) != len(skipped):
        raise ValueError("it says twice that a seed image was skipped")


def _check_number(mark: Mapping[str, Any], ids: range) -> None:
    """Whether the seed images that were not skipped can have equally many records, and some.

    Raises:
        ValueError: they cannot.
    """
    usable, number = len(ids) - len(mark["skipped"]), mark["num_records"]
    if bool(usable) != bool(number) or (usable and number % usable):
        raise ValueError(f"{number:,} records of {usable:,} usable seed images")


def _own_digest(mark: Mapping[str, Any]) -> str:
    return sha256_of_bytes(atomic.to_json(mark))


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None

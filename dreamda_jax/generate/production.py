"""Keeps a person informed while shards are made: progress and the contact sheet."""

import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from dreamda_jax.data.files.digests import sha256_of_bytes
from dreamda_jax.data.loader import Seed, load_seeds
from dreamda_jax.data.sets import records, shards
from dreamda_jax.data.sources import Source
from dreamda_jax.data.transforms import Crop
from dreamda_jax.generate.contact_sheet import ContactSheet, choose_rows, is_made_of
from dreamda_jax.runtime import forecast
from dreamda_jax.runtime.progress import Progress

SHEET = "contact_sheet.png"


class View(NamedTuple):
    """How seed images become the squares that a sheet shows.

    Attributes:
      resolution: side in pixels.
      crop: see `transforms.decode_image`.
    """

    resolution: int
    crop: Crop


class Production:
    """Hears of finished batches and shards; an `engine.Report`.

    Args:
      layout: the shards of this data set.
      source: where the seed images come from.
      finished: the shards that an earlier run has made.
      todo: the shards this one is about to make.
      num_variants: n.
      resolution: of seed and synthetic images.
      crop: how seed images become squares.
    """

    def __init__(
        self,
        layout: shards.Layout,
        source: Source,
        *,
        finished: list[int],
        todo: list[int],
        num_variants: int,
        resolution: int,
        crop: Crop,
    ) -> None:
        self._layout, self._num_variants = layout, num_variants
        self._label_names = source.label_names
        labels = getattr(source, "labels", None)
        rows = None if labels is None else choose_rows(np.asarray(labels).tolist())
        # With what an earlier run made, so that a resumed run's sheet is the same.
        first = _first_shards(layout, finished)
        wanted = choose_rows(first) if rows is None else [row for row in rows if row in first]
        self._sheet = ContactSheet(source.label_names, rows)
        _fill(self._sheet, layout, source, {first[row] for row in wanted}, View(resolution, crop))
        done = sum(self._images(shard) for shard in finished)
        self.progress = Progress(
            done + sum(self._images(shard) for shard in todo),
            done,
            skipped=done - sum(images_in(layout, finished)),
            hint_for_long=forecast.hint_for_long(),
        )

    def images(self, count: int) -> None:
        """Counts finished images."""
        self.progress.add(count)

    def shard(self, made: list[records.Record], seeds: dict[int, Seed]) -> None:
        """Shows the shard's seeds where a class has none from an earlier one."""
        self.progress.skip(self._num_variants * sum(bool(seed.error) for seed in seeds.values()))
        changed = False
        for index, variants in _by_seed(made).items():
            seed = seeds[index]
            if seed.pixels is not None and self._sheet.wants(seed.label, index):
                self._sheet.add(seed.label, index, seed.pixels, [r.image for r in variants])
                changed = True
        if changed:
            first = {
                label: self._layout.shard_of(seed_id)
                for label, seed_id in self._sheet.seeds.items()
            }
            digest = _digest(self._layout, self._label_names, first)
            self._sheet.save(self._layout.directory / SHEET, digest=digest)

    def _images(self, shard: int) -> int:
        return len(self._layout.seed_ids(shard)) * self._num_variants


def images_in(layout: shards.Layout, finished: Iterable[int]) -> list[int]:
    """How many images each of these finished shards holds."""
    return [shards.read_marker(layout, shard)["num_records"] for shard in finished]


def refresh_contact_sheet(
    layout: shards.Layout, source: Source, *, resolution: int, crop: Crop
) -> None:
    """Draws that of a finished set, unless there is one that shows what the shards hold.

    It is looked at even if nothing was made: the file may be of an earlier state, damaged or gone,
    and of several processes each has shown its own shards only.

    Raises:
      UserError: the disk is full, or a shard cannot be read.
    """
    first = _first_shards(layout, range(layout.num_shards))
    shown = {label: first[label] for label in choose_rows(first)}
    digest = _digest(layout, source.label_names, shown)
    if is_made_of(layout.directory / SHEET, digest):
        return
    sheet = ContactSheet(source.label_names, shown)
    _fill(sheet, layout, source, set(shown.values()), View(resolution, crop))
    sheet.save(layout.directory / SHEET, digest=digest)


def _first_shards(layout: shards.Layout, made: Iterable[int]) -> dict[int, int]:
    """By label the first of these shards that has an image of it, as their marks say."""
    first: dict[int, int] = {}
    for shard in sorted(made):
        counts = shards.read_marker(layout, shard).get("images_by_label")
        if counts is None:  # made by 0.1: the records say
            labels = {record.label for record in records.read_shard(layout.path(shard))}
        else:
            labels = {int(label) for label in counts}
        for label in labels:
            first.setdefault(label, shard)
    return first


def _fill(
    sheet: ContactSheet,
    layout: shards.Layout,
    source: Source,
    made: Iterable[int],
    view: View,
) -> None:
    for shard in sorted(made):
        for index, variants in _by_seed(records.read_shard(layout.path(shard))).items():
            label = variants[0].label
            if sheet.wants(label, index):
                (seed,) = load_seeds(source, [index], **view._asdict())
                if seed.pixels is not None:
                    sheet.add(label, index, seed.pixels, [record.image for record in variants])


def _digest(layout: shards.Layout, label_names: tuple[str, ...], shown: Mapping[int, int]) -> str:
    """Of what a sheet shows: the classes, and the shards that their pictures are from."""
    rows = [
        [label, label_names[label], shards.read_marker(layout, shard)["sha256"]]
        for label, shard in sorted(shown.items())
    ]
    return sha256_of_bytes(json.dumps([len(label_names), rows]).encode())


def _by_seed(made: Iterable[records.Record]) -> dict[int, list[records.Record]]:
    grouped: dict[int, list[records.Record]] = {}
    for record in made:
        grouped.setdefault(record.seed_id, []).append(record)
    return grouped

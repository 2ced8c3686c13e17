"""Keeps a person informed while shards are made: progress and the contact sheet."""

import io
import pathlib
from collections.abc import Iterable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dreamda_jax.data.drawing import ACCENT, INK, PAPER, drawable, fit, save_png, thumbnail
from dreamda_jax.data.loader import Seed, load_seeds
from dreamda_jax.data.sets import records, shards
from dreamda_jax.data.sources import Source
from dreamda_jax.data.transforms import Crop
from dreamda_jax.runtime.progress import Progress

_SHEET = "contact_sheet.png"


_CELL, _GAP, _LABEL, _MAX_VARIANTS = 128, 4, 150, 8


class ContactSheet:
    """Keeps the lowest seed id of each class, so that the finished sheet depends on the set only.

    Args:
      label_names: a row for each, in this order.
    """

    def __init__(self, label_names: tuple[str, ...]) -> None:
        self._label_names = label_names
        self._rows: dict[int, tuple[int, Image.Image, list[Image.Image]]] = {}

    def wants(self, label: int, seed_id: int) -> bool:
        """Whether this seed would replace the one shown for its class."""
        return label not in self._rows or seed_id < self._rows[label][0]

    def add(self, label: int, seed_id: int, seed: np.ndarray, variants: list[bytes]) -> None:
        """Shows a seed (uint8 [h, w, 3]) and its variants (encoded images) for its class."""
        pictures = [Image.open(io.BytesIO(data)) for data in variants[:_MAX_VARIANTS]]
        thumbnails = [thumbnail(picture, _CELL) for picture in pictures]
        self._rows[label] = (seed_id, thumbnail(Image.fromarray(seed), _CELL), thumbnails)

    def save(self, path: pathlib.Path) -> None:
        """Writes the sheet as PNG, replacing an older one in one step; nothing if it has no row."""
        if not self._rows:
            return
        columns = 1 + max(len(row[2]) for row in self._rows.values())
        step = _CELL + _GAP
        header = 24
        size = (_LABEL + columns * step + 2 * _GAP, header + len(self._rows) * step + _GAP)
        sheet = Image.new("RGB", size, PAPER)
        draw = ImageDraw.Draw(sheet)
        font = ImageFont.load_default(size=15)
        draw.text((_LABEL, 4), "seed", fill=ACCENT, font=font)
        draw.text((_LABEL + step + _GAP, 4), "variants", fill=INK, font=font)
        for y, label in enumerate(sorted(self._rows)):
            _, seed, variants = self._rows[label]
            top = header + y * step
            name = fit(drawable(self._label_names[label]), font, _LABEL - 2 * _GAP)
            draw.text((_GAP, top + _CELL // 2), name, fill=INK, font=font, anchor="lm")
            sheet.paste(seed, (_LABEL, top))
            draw.rectangle(
                (_LABEL - 2, top - 2, _LABEL + _CELL + 1, top + _CELL + 1), outline=ACCENT, width=2
            )
            for x, picture in enumerate(variants):
                sheet.paste(picture, (_LABEL + (x + 1) * step + _GAP, top))
        save_png(sheet, path)


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
        self._sheet_path = layout.directory / _SHEET
        # With what an earlier run made, so that a resumed run's sheet is the same.
        self._sheet = _sheet_of(finished, layout, source, resolution=resolution, crop=crop)
        done = sum(self._images(shard) for shard in finished)
        self.progress = Progress(done + sum(self._images(shard) for shard in todo), done)

    def images(self, count: int) -> None:
        """Counts finished images."""
        self.progress.add(count)

    def shard(self, made: list[records.Record], seeds: dict[int, Seed]) -> None:
        """Shows the shard's seeds where a class has none from an earlier one."""
        by_seed = _by_seed(made)
        for index, variants in by_seed.items():
            seed = seeds[index]
            if seed.pixels is not None and self._sheet.wants(seed.label, index):
                self._sheet.add(seed.label, index, seed.pixels, [r.image for r in variants])
        self._sheet.save(self._sheet_path)

    def _images(self, shard: int) -> int:
        return len(self._layout.seed_ids(shard)) * self._num_variants


def draw_contact_sheet(
    layout: shards.Layout, source: Source, *, resolution: int, crop: Crop
) -> None:
    """Draws that of a finished set, of whose shards each process has shown its own only."""
    every = range(layout.num_shards)
    sheet = _sheet_of(every, layout, source, resolution=resolution, crop=crop)
    sheet.save(layout.directory / _SHEET)


def _sheet_of(
    made: Iterable[int], layout: shards.Layout, source: Source, *, resolution: int, crop: Crop
) -> ContactSheet:
    sheet = ContactSheet(source.label_names)
    for shard in made:
        for index, variants in _by_seed(records.read_shard(layout.path(shard))).items():
            label = variants[0].label
            if sheet.wants(label, index):
                (seed,) = load_seeds(source, [index], resolution=resolution, crop=crop)
                if seed.pixels is not None:
                    sheet.add(label, index, seed.pixels, [record.image for record in variants])
    return sheet


def _by_seed(made: Iterable[records.Record]) -> dict[int, list[records.Record]]:
    grouped: dict[int, list[records.Record]] = {}
    for record in made:
        grouped.setdefault(record.seed_id, []).append(record)
    return grouped

"""Keeps a person informed while shards are made: progress and the contact sheet."""

from collections.abc import Iterable

from dreamda_jax.data.loader import Seed, load_seeds
from dreamda_jax.data.sets import records, shards
from dreamda_jax.data.sources import Source
from dreamda_jax.data.transforms import Crop
from dreamda_jax.generate.contact_sheet import ContactSheet
from dreamda_jax.runtime import forecast
from dreamda_jax.runtime.progress import Progress

_SHEET = "contact_sheet.png"


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
        self.progress = Progress(
            done + sum(self._images(shard) for shard in todo),
            done,
            hint_for_long=forecast.hint_for_long(),
        )

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

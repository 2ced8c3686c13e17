"""What is shown while shards are made costs the same whatever the number of classes."""

import itertools

import numpy as np
import pytest
from PIL import Image

from dreamda_jax.data.loader import Seed
from dreamda_jax.data.sets import records, shards
from dreamda_jax.generate import production
from dreamda_jax.generate.contact_sheet import MOST_ROWS, ContactSheet, choose_rows
from tests.support.small_records import make_pixels, make_record, new_layout

VARIANTS = 2


class Source:
    """`classes` classes of `per_class` images, in order."""

    name = "many"

    def __init__(self, classes, per_class=1, *, in_memory=True):
        self.label_names = tuple(f"class {i:04d}" for i in range(classes))
        labels = np.repeat(np.arange(classes), per_class)
        self._labels = labels
        if in_memory:
            self.labels = labels

    def __len__(self):
        return len(self._labels)

    def __getitem__(self, index):
        from dreamda_jax.data.sources import Example

        label = int(self._labels[index])
        return Example(index, f"{index}.png", label, make_pixels(index, 99))


def make_shards(directory, source, report_of, *, skipped=()):
    """All shards of a source through a `Production`; returns the layout."""
    layout = new_layout(directory, num_seeds=len(source), seeds_per_shard=4)
    report = report_of(layout)
    for shard in range(layout.num_shards):
        made, seeds = [], {}
        for seed_id in layout.seed_ids(shard):
            label, bad = source[seed_id].label, seed_id in skipped
            pixels = None if bad else make_pixels(seed_id, 99)
            error = "truncated" if bad else None
            seeds[seed_id] = Seed(seed_id, f"{seed_id}.png", label, None, pixels, error, False)
            if not bad:
                made += [
                    make_record(
                        *(seed_id, variant),
                        label=label,
                        label_name=source.label_names[label],
                        label_names=source.label_names,
                    )
                    for variant in range(VARIANTS)
                ]
        left_out = [shards.Skipped(s, seeds[s].name, "truncated") for s in seeds if s in skipped]
        shards.write_shard(layout, shard, made, left_out)
        report.shard(made, seeds)
        report.images(VARIANTS * len(seeds))
    return layout


def start(source, **more):
    def report_of(layout):
        every = list(range(layout.num_shards))
        return production.Production(
            *(layout, source),
            **{"finished": [], "todo": every, "num_variants": VARIANTS, **more},
            resolution=16,
            crop="center",
        )

    return report_of


@pytest.fixture
def counted(monkeypatch):
    """How often a sheet is saved and a shard is read."""
    counts = {"saved": 0, "read": 0}
    save, read = ContactSheet.save, records.read_shard

    def counting_save(self, *args, **kwargs):
        counts["saved"] += 1
        return save(self, *args, **kwargs)

    def counting_read(path):
        counts["read"] += 1
        return read(path)

    monkeypatch.setattr(ContactSheet, "save", counting_save)
    monkeypatch.setattr(records, "read_shard", counting_read)
    return counts


@pytest.mark.parametrize("classes", [100, 400])
@pytest.mark.parametrize("in_memory", [True, False])
def test_of_many_classes_a_choice_is_shown(tmp_path, counted, classes, in_memory):
    source = Source(classes, in_memory=in_memory)
    layout = make_shards(tmp_path, source, start(source))
    assert counted["saved"] <= MOST_ROWS  # once for a row that is new
    assert counted["read"] == 0
    refresh(layout, source)
    assert counted["read"] <= MOST_ROWS
    with Image.open(tmp_path / production.SHEET) as sheet:
        assert sheet.height < (MOST_ROWS + 1) * 132
    # Gone on with, it reads no more than it shows.
    counted.update(read=0)
    finished = list(range(layout.num_shards - 1))
    start(source, finished=finished, todo=[layout.num_shards - 1])(layout)
    assert counted["read"] <= MOST_ROWS


def refresh(layout, source):
    production.refresh_contact_sheet(layout, source, resolution=16, crop="center")


def test_the_sheet_of_a_finished_set_is_left_alone(tmp_path, counted):
    source = Source(6, per_class=3)
    layout = make_shards(tmp_path, source, start(source), skipped=(0, 3, 4, 5))
    before = (tmp_path / production.SHEET).stat().st_mtime_ns
    counted.update(saved=0, read=0)
    refresh(layout, source)
    assert counted == {"saved": 0, "read": 0}
    assert (tmp_path / production.SHEET).stat().st_mtime_ns == before


@pytest.mark.parametrize("damage", ["gone", "cut", "a bit", "another picture", "a link to nothing"])
def test_it_is_made_again_whenever_it_is_not_what_the_shards_say(tmp_path, damage):
    source = Source(5, per_class=2)
    layout = make_shards(tmp_path, source, start(source))
    path = tmp_path / production.SHEET
    whole = path.read_bytes()
    refresh(layout, source)
    path.unlink()
    if damage == "cut":
        path.write_bytes(whole[:-20])
    elif damage == "a bit":
        place = len(whole) // 2
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
    elif damage == "another picture":
        Image.new("RGB", (9, 9)).save(path)
    elif damage == "a link to nothing":
        path.symlink_to(tmp_path / "nothing")
    refresh(layout, source)
    assert path.read_bytes() == whole


def test_it_is_made_again_when_a_shard_changed(tmp_path):
    source = Source(5, per_class=2)
    layout = make_shards(tmp_path, source, start(source))
    path = tmp_path / production.SHEET
    whole = path.read_bytes()
    labels = {seed: source[seed].label for seed in layout.seed_ids(0)}
    made = [make_record(s, 7, label=labels[s], label_names=source.label_names) for s in labels]
    shards.write_shard(layout, 0, made, [])
    refresh(layout, source)
    assert path.read_bytes() != whole


def test_progress_counts_what_was_skipped_apart(tmp_path, capsys):
    source = Source(2, per_class=4)
    make_shards(tmp_path, source, start(source), skipped=(5,))
    assert "14/16 images, 2 skipped" in capsys.readouterr().err
    layout = new_layout(tmp_path, num_seeds=8, seeds_per_shard=4)
    report = start(source, finished=[1], todo=[0])(layout)  # the one with the skipped image
    report.images(8)
    assert "14/16 images, 2 skipped" in capsys.readouterr().err


def test_rows_are_spread_evenly():
    assert choose_rows([4, 2, 2, 9]) == [2, 4, 9]
    chosen = choose_rows(range(1000))
    assert len(chosen) == MOST_ROWS
    assert {b - a for a, b in itertools.pairwise(chosen)} == {41, 42}
    assert choose_rows([]) == []

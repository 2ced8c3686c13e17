"""Done markers: whose they are, and those that cannot be believed."""

import json
import os
import shutil
from pathlib import Path

import pytest

from dreamda_jax.data.files import atomic
from dreamda_jax.data.files.run_directory import open_run
from dreamda_jax.data.sets import dataset, marks, shards
from dreamda_jax.data.sets.shards import Skipped
from dreamda_jax.errors import UserError
from tests.support.small_records import finish, make_records, new_layout, write_all

SINCE_0_1 = ("first_seed_id", "last_seed_id", "images_by_label", "settings_sha256", "mark_sha256")


def make_run(directory: Path, *, seed: int = 0) -> shards.Layout:
    """A finished set of three shards, of a run with settings."""
    open_run(directory, {"synthesis": {"seed": seed}}).close()
    layout = new_layout(directory)
    write_all(layout)
    finish(layout)
    return layout


def read(path: Path) -> dict:
    return json.loads(path.read_bytes())


def as_0_1(layout: shards.Layout, shard: int) -> None:
    """Takes out of a marker what 0.1 did not write."""
    mark = read(layout.marker(shard))
    kept = {name: value for name, value in mark.items() if name not in SINCE_0_1}
    layout.marker(shard).write_bytes(atomic.to_json(kept))


def exchange(first: Path, second: Path) -> None:
    aside = first.with_name("aside")
    for source, target in ((first, aside), (second, first), (aside, second)):
        os.replace(source, target)


def missing(layout: shards.Layout) -> tuple[list[int], str]:
    reports: list[str] = []
    found = shards.missing_shards(layout, report=reports.append)
    return found, "\n".join(reports)


def test_a_marker_names_its_shard_its_run_and_its_classes(tmp_path):
    layout = make_run(tmp_path)
    mark = shards.read_marker(layout, 1)
    assert (mark["first_seed_id"], mark["last_seed_id"]) == (2, 3)
    assert mark["images_by_label"] == {"2": 2, "3": 2}
    assert mark["settings_sha256"] == shards.read_marker(layout, 0)["settings_sha256"]
    other = make_run(tmp_path / "other", seed=1)
    assert mark["settings_sha256"] != shards.read_marker(other, 1)["settings_sha256"]


@pytest.mark.parametrize("version", ["today's", "0.1's"])
def test_two_shards_exchanged_with_their_marks_are_made_again(tmp_path, version):
    layout = make_run(tmp_path)
    if version == "0.1's":
        for shard in range(3):
            as_0_1(layout, shard)
    exchange(layout.path(0), layout.path(1))
    exchange(layout.marker(0), layout.marker(1))
    with pytest.raises(UserError, match="2 of 3 shards are missing or damaged"):
        dataset.open_finished(tmp_path)
    found, report = missing(layout)
    assert found == [0, 1]
    reason = "of the seed images 2 to 3" if version == "today's" else "records are not those"
    assert reason in report


def test_a_shard_of_a_run_with_another_seed_is_made_again(tmp_path):
    layout, other = make_run(tmp_path / "run"), make_run(tmp_path / "other", seed=1)
    shutil.copy(other.path(2), layout.path(2))
    shutil.copy(other.marker(2), layout.marker(2))
    with pytest.raises(UserError, match=r"1 of 3 shards.*a run with other settings"):
        dataset.open_finished(layout.directory, checksum=False)
    assert missing(layout)[0] == [2]

    shutil.copy(other.path(1), layout.path(1))
    shutil.copy(other.marker(1), layout.marker(1))
    shards.write_shard(layout, 2, make_records(layout.seed_ids(2)), [])
    (layout.directory / "config.json").unlink()  # which would tell whose they should be
    finish(layout)
    with pytest.raises(UserError, match="2 different settings"):
        dataset.open_finished(layout.directory)


def test_a_foreign_config_does_not_cost_the_whole_set(tmp_path):
    layout, other = make_run(tmp_path / "run"), make_run(tmp_path / "other", seed=1)
    shutil.copy(other.directory / "config.json", layout.directory)
    with pytest.raises(UserError, match=r"Of the 3 finished shards .* none was made under"):
        shards.missing_shards(layout)
    assert all(layout.path(shard).exists() for shard in range(3))


def test_markers_of_0_1_count_as_before_with_a_note(tmp_path):
    layout = make_run(tmp_path)
    for shard in (0, 2):
        as_0_1(layout, shard)
    found, report = missing(layout)
    assert found == []
    assert report.startswith("note      2 shards were finished by 0.1")
    assert dataset.open_finished(tmp_path).num_records == 10


WRONG = {
    "negative": {"num_records": -1},
    "a text": {"num_records": "4"},
    "none": {"num_records": None},
    "a truth value": {"num_records": True},
    "a fraction": {"num_records": 4.0},
    "another number": {"num_records": 6},
    "no number of the seeds": {"num_records": 3},
    "bytes as text": {"bytes": "131072"},
    "negative bytes": {"bytes": -1},
    "a checksum that is none": {"sha256": None},
    "seeds as text": {"num_seeds": "5"},
    "skipped, no list": {"skipped": None},
    "skipped, a name": {"skipped": ["dir/2.jpg"]},
    "skipped, not of this shard": {"skipped": [Skipped(0, "x", "y")._asdict()]},
    "skipped, without reason": {"skipped": [{"seed_id": 2, "name": "x"}]},
    "skipped, a text as id": {"skipped": [Skipped("2", "x", "y")._asdict()]},
    "skipped, twice": {"skipped": [Skipped(2, "x", "y")._asdict()] * 2},
    "skipped, all": {"skipped": [Skipped(i, "x", "y")._asdict() for i in (2, 3)]},
    "skipped, though it has records": {"skipped": [Skipped(2, "x", "y")._asdict()]},
}


@pytest.mark.parametrize("version", ["today's", "0.1's"])
@pytest.mark.parametrize("wrong", WRONG)
def test_a_marker_that_cannot_be_true_is_damage(tmp_path, wrong, version):
    layout = make_run(tmp_path)
    if version == "0.1's":
        as_0_1(layout, 1)
    layout.marker(1).write_text(json.dumps(read(layout.marker(1)) | WRONG[wrong]))
    with pytest.raises(UserError, match="1 of 3 shards"):
        dataset.open_finished(tmp_path)
    assert missing(layout)[0] == [1]
    shards.write_shard(layout, 1, make_records(layout.seed_ids(1)), [])
    assert finish(layout).num_records == 10


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a":' * 100_000, "[]", "null", "{}", b"\xff\xfe{}", "1" * 10_000],
    ids=["lists", "objects", "a list", "null", "empty", "utf-16", "a long number"],
)
def test_a_marker_that_is_none_is_damage(tmp_path, text):
    layout = make_run(tmp_path)
    layout.marker(1).write_bytes(text if isinstance(text, bytes) else text.encode())
    assert missing(layout)[0] == [1]


@pytest.mark.parametrize("what", ["shard", "marker"])
@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file_is_named_and_left(tmp_path, what, kind):
    layout = make_run(tmp_path)
    path = layout.path(1) if what == "shard" else layout.marker(1)
    path.unlink()
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    for look in (lambda: shards.missing_shards(layout), lambda: dataset.open_finished(tmp_path)):
        with pytest.raises(UserError, match=f"{path.name} is .*Move it away"):
            look()
    assert path.exists()


def test_the_checksum_covers_every_field(tmp_path):
    layout = make_run(tmp_path)
    whole = read(layout.marker(0))
    for name in whole:
        changed = {**whole, name: "0" * 64 if name.endswith("sha256") else 7}
        layout.marker(0).write_text(json.dumps(changed))
        with pytest.raises(ValueError, match=r".+"):
            marks.read_marker(layout, 0)

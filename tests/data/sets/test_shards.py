"""Shards: their layout, damage that is found, and what a crash leaves."""

import datetime
import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from dreamda_jax.data.files import atomic
from dreamda_jax.data.sets import dataset, records, shards
from dreamda_jax.data.sets.shards import Layout
from dreamda_jax.errors import UserError
from tests.support.paths import ROOT
from tests.support.small_records import (
    finish,
    make_records,
    new_layout,
    write_all,
)


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def test_layout_covers_every_seed_once():
    layout = new_layout(Path("x"), num_seeds=5, seeds_per_shard=2)
    seeds = [seed for shard in range(layout.num_shards) for seed in layout.seed_ids(shard)]
    assert seeds == [0, 1, 2, 3, 4]
    assert layout.path(2).name == "fashion20-train.array_record-00002-of-00003"
    with pytest.raises(ValueError, match="shard 3 of 3"):
        layout.path(3)
    with pytest.raises(ValueError, match="do not make"):
        Layout(Path("x"), "a", num_shards=2, num_seeds=5, seeds_per_shard=2)


@pytest.mark.parametrize(
    ("given", "name"), [("My Photos!", "my_photos"), ("20 ü", "data_20"), ("日本", "data")]
)
def test_layout_makes_a_tfds_name(given, name):
    assert Layout.for_seeds(Path("x"), name=given, num_seeds=1, seeds_per_shard=1).name == name


YEAR = 365 * 24 * 3600


@pytest.fixture
def a_year_on(monkeypatch):
    """Whoever asks Python what time it is hears this."""
    there = time.time() + YEAR

    class Later(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls.fromtimestamp(there, tz)

        today = utcnow = now

    def of(convert):
        return lambda seconds=None: convert(there if seconds is None else seconds)

    for name in ("localtime", "gmtime", "ctime"):
        monkeypatch.setattr(time, name, of(getattr(time, name)))
    write = time.strftime
    monkeypatch.setattr(time, "strftime", lambda form, at=None: write(form, at or time.localtime()))
    monkeypatch.setattr(time, "time", lambda: there)
    monkeypatch.setattr(time, "time_ns", lambda: int(there * 1e9))
    monkeypatch.setattr(datetime, "datetime", Later)
    return there


def test_identical_bytes_when_written_twice(tmp_path, complete, a_year_on):
    again = new_layout(tmp_path / "again")
    write_all(again)
    for path in again.directory.rglob("*"):
        os.utime(path, (a_year_on, a_year_on))
    finish(again)
    finish(again)
    assert contents(again.directory) == contents(complete.directory)
    assert not list(again.directory.rglob(f"{atomic.PREFIX}*"))


def flip_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGES = {
    "bit flip": lambda layout: flip_bit(layout.path(1)),
    "truncation": lambda layout: os.truncate(layout.path(1), 70_000),
    "emptied": lambda layout: os.truncate(layout.path(1), 0),
    "file deleted": lambda layout: layout.path(1).unlink(),
    "marker deleted": lambda layout: layout.marker(1).unlink(),
    "marker emptied": lambda layout: os.truncate(layout.marker(1), 0),
    "marker of another": lambda layout: shutil.copy(layout.marker(0), layout.marker(1)),
    "both deleted": lambda layout: [p.unlink() for p in (layout.path(1), layout.marker(1))],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_and_only_that_shard_redone(complete, damage):
    before = contents(complete.directory)
    DAMAGES[damage](complete)
    with pytest.raises(UserError, match="1 of 3 shards are missing or damaged"):
        dataset.open_finished(complete.directory)
    reports: list[str] = []
    looked = shards.missing_shards(complete, remove_damaged=False, report=reports.append)
    assert looked == shards.missing_shards(complete, report=reports.append) == [1]
    if damage != "both deleted":
        assert len(reports) == 2
        assert "00001-of-00003" in reports[0]
        assert not (complete.directory / "dataset_info.json").exists()
    # Without a marker it may be what another host is finishing now: it stays until overwritten.
    assert complete.path(1).exists() == (damage == "marker deleted")
    with pytest.raises(UserError, match="1 of 3 shards are missing"):
        finish(complete)
    shards.write_shard(complete, 1, make_records(complete.seed_ids(1)), [])
    finish(complete)
    assert contents(complete.directory) == before


def test_reading_a_truncated_or_flipped_shard_raises(complete):
    path = complete.path(1)
    whole = path.read_bytes()
    for size in (0, 100, 70_000, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match="cannot be read"):
            list(records.read_shard(path))
        with pytest.raises(UserError, match="bytes instead of"):
            list(dataset.read_records(complete))
    path.unlink()
    with pytest.raises(UserError, match="cannot be read"):
        list(records.read_shard(path))


def test_a_shard_of_other_seeds_or_broken_images_is_refused(tmp_path):
    layout = new_layout(tmp_path)
    with pytest.raises(ValueError, match="not of shard"):
        shards.write_shard(layout, 0, make_records([2]), [])
    (record,) = make_records([0], variants=1)
    with pytest.raises((OSError, SyntaxError)):
        shards.write_shard(layout, 0, [record._replace(image=record.image[:-40])], [])
    assert shards.verify_shard(layout, 0).status == "missing"
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        RuntimeError("write() failed: No space left on device; writing x"),
    ],
)
@pytest.mark.parametrize("where", ["records", "marker"])
def test_full_disk_is_a_message(tmp_path, monkeypatch, error, where):
    def fail(path, data):
        path.write_bytes(b"half")
        raise error

    if where == "records":
        monkeypatch.setattr(shards, "_write_array_record", fail)
    else:
        monkeypatch.setattr(atomic, "write_atomically", lambda path, data: fail(path, data))
    layout = new_layout(tmp_path)
    made = make_records(layout.seed_ids(0))
    needed = sum(len(records.serialize(record)) for record in made)
    with pytest.raises(UserError, match=f"{needed:,} bytes were needed.*continues"):
        shards.write_shard(layout, 0, made, [])
    assert shards.verify_shard(layout, 0).status != "done"
    assert not layout.path(0).exists() or where == "marker"


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounting needs root")
def test_full_disk_for_real(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        layout = new_layout(disk)
        shards.write_shard(layout, 0, make_records(layout.seed_ids(0)), [])
        large = make_records(layout.seed_ids(1), variants=8, size=200)
        with pytest.raises(UserError, match="bytes were needed"):
            shards.write_shard(layout, 1, large, [])
        assert shards.missing_shards(layout) == [1, 2]
        assert len([path for path in disk.rglob("*") if path.is_file()]) == 2
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_leftovers_of_the_dead_are_removed_those_of_the_living_kept(tmp_path):
    layout = new_layout(tmp_path)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / "done").mkdir()

    def leave(machine, pid, directory=tmp_path):
        path = directory / f"{atomic.PREFIX}~{machine}~{pid}~abcd~x"
        path.write_bytes(b"")
        return path

    me = atomic.machine_id()
    gone = [leave(me, dead.pid), leave(me, dead.pid, tmp_path / "done"), leave(me, os.getpid())]
    kept = [leave(me, os.getppid()), leave("elsewhere", dead.pid)]
    old = leave("elsewhere", 1)
    os.utime(old, (0, 0))
    with atomic.temporary(layout.path(0)) as in_use:
        in_use.write_bytes(b"")
        assert set(shards.remove_leftovers(layout)) == {*gone, old}
        assert in_use.exists()
    assert all(path.exists() for path in kept)


NUM_SEEDS = 120  # two a shard: more than the killed writers get through
WRITER = """
    import sys
    from pathlib import Path
    sys.path.insert(0, {repository!r})
    from tests.support.small_records import make_records, new_layout
    from dreamda_jax.data.sets import shards
    layout = new_layout(Path(sys.argv[1]), num_seeds={num_seeds})
    prepared = [make_records(layout.seed_ids(i)) for i in range(layout.num_shards)]
    from tensorflow_datasets.proto import tf_example_pb2
    shards.remove_leftovers(layout)
    todo = shards.missing_shards(layout)
    print("ready", flush=True)
    for shard in todo:
        sys.stdin.readline()  # a line for each
        shards.write_shard(layout, shard, prepared[shard], [])
        print(shard, flush=True)
"""


def start_writer(directory: Path) -> subprocess.Popen:
    script = WRITER.format(repository=str(ROOT), num_seeds=NUM_SEEDS)
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(directory)], stdin=pipe, stdout=pipe
    )
    assert process.stdout.readline() == b"ready\n"
    return process


def let_write(process: subprocess.Popen, *, count: int) -> None:
    process.stdin.write(b"\n" * count)
    process.stdin.flush()


def test_sigkill_at_random_moments_leaves_only_whole_shards(tmp_path):
    tmp_path = tmp_path / "killed"
    tmp_path.mkdir()
    layout = new_layout(tmp_path, num_seeds=NUM_SEEDS)
    delays = random.Random(0)
    progress = []
    for _ in range(5):
        process = start_writer(tmp_path)
        let_write(process, count=10)  # and no more, however late the kill comes
        for _ in range(delays.randint(0, 3)):
            assert process.stdout.readline()
        time.sleep(delays.uniform(0, 0.02))  # any moment will do
        process.send_signal(signal.SIGKILL)
        process.communicate()
        for path in tmp_path.glob("fashion20-*"):
            assert len(list(records.read_shard(path))) == 4
        for shard in range(layout.num_shards):
            assert not layout.marker(shard).exists() or (
                shards.verify_shard(layout, shard).status == "done"
            )
        progress.append(len(list(tmp_path.glob("done/[!.]*.json"))))
    assert progress == sorted(progress)
    assert 0 < progress[-1] < layout.num_shards, progress  # the kills fell into the writing
    process = start_writer(tmp_path)
    process.communicate(b"\n" * layout.num_shards)
    assert process.returncode == 0
    uninterrupted = new_layout(tmp_path.parent / "whole", num_seeds=NUM_SEEDS)
    write_all(uninterrupted)
    assert contents(tmp_path) == contents(uninterrupted.directory)


def test_two_processes_writing_the_same_shards_leave_good_ones(tmp_path):
    layout = new_layout(tmp_path, num_seeds=NUM_SEEDS)
    both = [start_writer(tmp_path) for _ in range(2)]
    for process in both:
        let_write(process, count=layout.num_shards)
    for process in both:
        process.communicate()
        assert process.returncode == 0
    assert shards.missing_shards(layout) == []
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == NUM_SEEDS

"""What was read before is not read again, and what has changed is."""

import hashlib
import json
import os
import time

import pytest

from dreamda_jax.data.files import known_digests
from dreamda_jax.data.files.known_digests import KnownDigests

OLD = time.time_ns() - 10**12


@pytest.fixture
def reads(monkeypatch):
    """The files that were read."""
    seen = []
    real = known_digests.sha256_of

    def read(path):
        seen.append(path.name)
        return real(path)

    monkeypatch.setattr(known_digests, "sha256_of", read)
    return seen


@pytest.fixture
def settled(monkeypatch):
    """As if the files had been written long before they are read."""
    monkeypatch.setattr(known_digests, "_TICK_NANOSECONDS", -1)


def ask(tmp_path, *files, **options):
    known = KnownDigests(tmp_path / "cache", **options)
    found = [known.sha256(file) for file in files]
    known.save()
    return found


def test_a_second_start_reads_nothing(tmp_path, reads, settled):
    files = [tmp_path / name for name in ("a", "b")]
    for file in files:
        file.write_bytes(file.name.encode())
    wanted = [hashlib.sha256(name).hexdigest() for name in (b"a", b"b")]
    assert ask(tmp_path, *files) == wanted
    assert ask(tmp_path, *files) == wanted
    assert reads == ["a", "b"]
    assert ask(tmp_path, *files, verify=True) == wanted
    assert reads == ["a", "b", "a", "b"]


@pytest.mark.parametrize("change", ["content", "same size", "replaced", "times set back"])
def test_what_has_changed_is_read_again(tmp_path, reads, settled, change):
    file = tmp_path / "a"
    file.write_bytes(b"one")
    before = ask(tmp_path, file)
    status = file.stat()
    if change == "content":
        file.write_bytes(b"three")
    elif change == "replaced":
        (tmp_path / "b").write_bytes(b"two")
        os.replace(tmp_path / "b", file)
    else:
        file.write_bytes(b"two")
    if change == "times set back":  # of the times, that of the inode's change cannot be set
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert ask(tmp_path, file) != before
    assert reads == ["a", "a"]


def test_what_was_written_just_now_is_not_remembered(tmp_path, reads):
    file = tmp_path / "a"
    file.write_bytes(b"one")
    ask(tmp_path, file)
    ask(tmp_path, file)
    assert reads == ["a", "a"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"folder": 1}', "[" * 100_000])
def test_a_damaged_memory_is_none(tmp_path, reads, settled, content):
    file = tmp_path / "a"
    file.write_bytes(b"one")
    wanted = ask(tmp_path, file)
    (kept,) = (tmp_path / "cache").glob("*.json")
    kept.write_text(content)
    assert ask(tmp_path, file) == wanted
    assert json.loads(kept.read_text())["files"].keys() == {"a"}


def test_where_none_can_be_kept_all_is_read(tmp_path, reads, settled):
    (tmp_path / "cache").write_text("a file")
    file = tmp_path / "a"
    file.write_bytes(b"one")
    assert ask(tmp_path, file) == ask(tmp_path, file)
    assert reads == ["a", "a"]


def test_it_lies_in_the_user_s_cache(tmp_path, monkeypatch, settled):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    file = tmp_path / "a"
    file.write_bytes(b"one")
    known = KnownDigests()
    known.sha256(file)
    known.save()
    assert len(list((tmp_path / "dreamda_jax" / "digests").glob("*.json"))) == 1

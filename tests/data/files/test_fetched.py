"""What decides whether something at an address is fetched again: its version, never its size."""

import datetime
import os

import pytest

from dreamda_jax.data.files import staging
from dreamda_jax.data.files.fetched import Fetched, Object, version_of
from dreamda_jax.data.files.mirror import Mirror
from dreamda_jax.data.files.object_store import ObjectStore
from tests.support.memory_store import clear, failing

LARGE = 2_000_000


@pytest.fixture(autouse=True)
def _place(tmp_path, monkeypatch):
    monkeypatch.setenv("DREAMDA_JAX_STAGING", str(tmp_path / "staging"))
    clear()
    yield
    clear()


@pytest.fixture(params=["file", "memory"])
def address(request, tmp_path):
    """A directory with two large files, in a store of each kind."""
    url = "memory://bucket/model" if request.param == "memory" else f"file://{tmp_path}/there/model"
    replace(url, "unet/weights", b"1" * LARGE, tmp_path)
    replace(url, "vae/weights", b"2" * LARGE, tmp_path)
    return url


def replace(address, name, content, tmp_path):
    local = tmp_path / "to_send"
    local.write_bytes(content)
    ObjectStore(address).put(local, name)


def test_a_file_replaced_by_one_of_its_size_is_fetched_again(address, tmp_path, capsys):
    here = staging.local(address)
    assert (here / "unet/weights").read_bytes() == b"1" * LARGE
    capsys.readouterr()
    replace(address, "unet/weights", b"3" * LARGE, tmp_path)
    assert staging.local(address) == here
    assert (here / "unet/weights").read_bytes() == b"3" * LARGE
    assert "1 files, 2.0 MB" in capsys.readouterr().out
    assert staging.local(address) == here
    assert capsys.readouterr().out == ""  # nothing is fetched and nothing claims to be


def test_so_is_a_file_that_is_an_input_by_itself(address, tmp_path):
    here = staging.local(f"{address}/vae/weights")
    assert here.read_bytes() == b"2" * LARGE
    with failing("get_file", times=9) as left:
        assert staging.local(f"{address}/vae/weights") == here
    assert left == [9]
    replace(address, "vae/weights", b"4" * LARGE, tmp_path)
    assert staging.local(f"{address}/vae/weights").read_bytes() == b"4" * LARGE


def test_times_that_were_set_back_hide_nothing(tmp_path):
    there = tmp_path / "there" / "model"
    there.mkdir(parents=True)
    (there / "weights").write_bytes(b"1" * LARGE)
    before = (there / "weights").stat()
    here = staging.local(f"file://{there}")
    (there / "weights").write_bytes(b"2" * LARGE)
    os.utime(there / "weights", ns=(before.st_atime_ns, before.st_mtime_ns))
    staging.local(f"file://{there}")
    assert (here / "weights").read_bytes() == b"2" * LARGE


def test_what_was_removed_there_is_removed_here(address):
    here = staging.local(address)
    ObjectStore(address).remove("unet/weights")
    staging.local(address)
    assert sorted(path.name for path in here.rglob("*")) == ["vae", "weights"]


def test_a_file_that_was_changed_here_is_fetched_again(address):
    here = staging.local(address)
    (here / "unet/weights").write_bytes(b"x" * LARGE)
    staging.local(address)
    assert (here / "unet/weights").read_bytes() == b"1" * LARGE


def test_a_shard_replaced_by_another_host_is_fetched_and_ones_own_is_not(tmp_path):
    mirror = Mirror(ObjectStore("memory://bucket/run"), tmp_path / "run")
    mirror.directory.mkdir()
    for name in ("mine", "theirs"):
        (mirror.directory / name).write_bytes(b"1" * LARGE)
    mirror.push()
    replace("memory://bucket/run", "theirs", b"2" * LARGE, tmp_path)
    with failing("get_file", times=1, only="mine") as left:
        mirror.pull()
    assert left == [1]
    assert (mirror.directory / "theirs").read_bytes() == b"2" * LARGE
    again = Mirror(mirror.store, mirror.directory)  # the notes outlive the process
    with failing("get_file", times=1) as left:
        again.pull()
    assert left == [1]


@pytest.mark.parametrize("damage", [b"", b"[1]", b"{", b'{"a": 3}', b"\xff", b"[" * 100_000])
def test_damaged_notes_cost_a_download(damage, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run.fetched.json").write_bytes(damage)
    assert not Fetched(tmp_path / "run").has("a", Object(1, "etag 1"))


@pytest.mark.parametrize(
    ("entry", "version"),
    [
        ({"ETag": '"abc-2"', "LastModified": "x", "size": 3}, "etag abc-2"),
        ({"etag": 'W/"abc-2"', "mtime": 3.5}, "etag abc-2"),
        ({"md5Hash": "q==", "updated": "x"}, "md5hash q=="),
        ({"mtime": 1.5, "ino": 7, "created": 2.5}, "mtime 1.5, created 2.5, ino 7"),
        ({"created": datetime.datetime.fromtimestamp(2.5, datetime.UTC)}, "created 2.5"),
        ({"size": 3, "name": "x"}, None),
    ],
)
def test_version(entry, version):
    assert version_of(entry) == version


def test_without_any_version_it_is_fetched_every_time(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "a").write_bytes(b"1")
    fetched = Fetched(tmp_path / "run")
    fetched.add("a", Object(1, None))
    assert not fetched.has("a", Object(1, None))

"""Uploads that fail, listings that are behind, marks without what they speak of."""

import re
import threading

import pytest

from dreamda_jax.data.files import object_store, staging
from dreamda_jax.data.files.fetched import Object
from dreamda_jax.data.files.mirror import Mirror, is_no_checkpoint
from dreamda_jax.data.files.object_store import ObjectStore, is_remote
from dreamda_jax.errors import UserError
from tests.support.memory_store import BUCKET, clear, failing, objects
from tests.support.waiting import HANG_GUARD_SECONDS, wait_until


@pytest.fixture(autouse=True)
def _empty_store():
    clear()
    yield
    clear()


def write(directory, files):
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.fixture
def mirror(tmp_path):
    (tmp_path / "run").mkdir()
    return Mirror(ObjectStore(BUCKET), tmp_path / "run")


def test_what_an_address_is():
    assert is_remote("gs://bucket/run")
    assert is_remote("s3://b")
    assert not is_remote("runs/x")
    assert not is_remote("/a//b")
    assert not is_remote("C:\\runs")


def test_an_unknown_or_uninstalled_kind_is_told():
    with pytest.raises(UserError, match="no object store is known as nowhere://"):
        ObjectStore("nowhere://bucket/x")
    with pytest.raises(UserError, match=re.escape("pip install 'dreamda-jax[gcs]'")):
        ObjectStore("gs://bucket/x")


def test_an_upload_that_fails_is_tried_again(mirror):
    write(mirror.directory, {"a.bin": b"12345"})
    with failing("put_file", times=3) as left:
        mirror.push()
    assert left == [0]
    assert objects() == {"a.bin": b"12345"}


def test_an_upload_that_keeps_failing_leaves_no_mark_and_is_told(mirror):
    write(mirror.directory, {"shard": b"records", "done/shard.json": b"{}"})
    with (
        failing("put_file", times=99, only="shard "),
        pytest.raises(UserError, match=r"memory://bucket/run/shard could not be uploaded: conn"),
    ):
        mirror.push()
    assert "done/shard.json" not in objects()
    assert not mirror.up_to_date
    mirror.push()  # the store is back
    assert set(objects()) == {"shard", "done/shard.json"}
    assert mirror.up_to_date


def test_an_upload_that_arrives_short_is_noticed(mirror, monkeypatch):
    write(mirror.directory, {"a.bin": b"12345"})
    monkeypatch.setattr(object_store, "_FIRST_WAIT_SECONDS", 0.001)
    monkeypatch.setattr(mirror.store, "object", lambda name: Object(3, "1"))
    with pytest.raises(UserError, match="5 bytes were sent and 3 arrived"):
        mirror.push()


def test_marks_go_up_after_everything_they_speak_of(mirror, monkeypatch):
    names = [
        "dataset_info.json",
        "done/x-train-00000-of-00001.json",
        "x-train.array_record-00000-of-00001",
        "checkpoints/20/_CHECKPOINT_METADATA",
        "checkpoints/20/state/d/0",
        "result.json",
        "unet/model.safetensors",
    ]
    write(mirror.directory, {name: name.encode() for name in names})
    order = []
    put = mirror.store.put
    monkeypatch.setattr(
        mirror.store, "put", lambda local, name: (order.append(name), put(local, name))[1]
    )
    mirror.push()
    place = {name: order.index(name) for name in names}
    assert place["done/x-train-00000-of-00001.json"] > place["x-train.array_record-00000-of-00001"]
    assert place["checkpoints/20/_CHECKPOINT_METADATA"] > place["checkpoints/20/state/d/0"]
    assert max(place, key=place.__getitem__) in ("dataset_info.json", "result.json")
    assert place["dataset_info.json"] > place["done/x-train-00000-of-00001.json"]
    assert place["result.json"] > place["unet/model.safetensors"]


def test_a_mark_that_appears_while_a_push_is_under_way_waits_for_the_next(mirror, monkeypatch):
    write(mirror.directory, {"first": b"1"})
    put = mirror.store.put

    def put_and_write(local, name):
        there = put(local, name)
        write(mirror.directory, {"late": b"2", "done/late.json": b"{}"})
        return there

    monkeypatch.setattr(mirror.store, "put", put_and_write)
    mirror.push()
    assert set(objects()) == {"first"}
    mirror.push()
    assert set(objects()) == {"first", "late", "done/late.json"}


def test_only_what_changed_is_sent_and_what_was_removed_is_removed(mirror, monkeypatch):
    write(mirror.directory, {"a": b"1", "b": b"2"})
    mirror.push()
    sent = []
    put = mirror.store.put
    monkeypatch.setattr(
        mirror.store, "put", lambda local, name: (sent.append(name), put(local, name))[1]
    )
    write(mirror.directory, {"a": b"changed"})
    (mirror.directory / "b").unlink()
    mirror.push()
    assert sent == ["a"]
    assert objects() == {"a": b"changed"}


def test_what_other_hosts_wrote_is_left_alone(mirror, tmp_path):
    other = Mirror(ObjectStore(BUCKET), tmp_path / "other")
    write(other.directory, {"theirs": b"t"})
    other.push()
    write(mirror.directory, {"mine": b"m"})
    mirror.push()
    assert set(objects()) == {"theirs", "mine"}


def test_locks_and_half_files_stay_here(mirror):
    write(
        mirror.directory,
        {".lock-0": b"x", ".dreamda-tmp~a~1~b~shard": b"half", "done/.dreamda-tmp~x": b"half"},
    )
    write(mirror.directory, {"checkpoints/20.orbax-checkpoint-tmp/d": b"half"})
    mirror.push()
    assert objects() == {}


def test_a_checkpoint_whose_upload_was_cut_is_not_taken(mirror, tmp_path):
    write(mirror.directory, {"checkpoints/10/state": b"1", "checkpoints/20/state": b"2"})
    write(mirror.directory, {"checkpoints/10/_CHECKPOINT_METADATA": b"{}"})
    mirror.push()
    again = Mirror(ObjectStore(BUCKET), tmp_path / "again")
    again.pull()
    assert (again.directory / "checkpoints/10/state").exists()
    assert not (again.directory / "checkpoints/20").exists()


def test_what_a_listing_still_shows_may_be_gone(mirror, tmp_path, monkeypatch):
    write(mirror.directory, {"a": b"1", "b": b"2"})
    mirror.push()
    again = Mirror(ObjectStore(BUCKET), tmp_path / "again")
    stale = {**again.store.list(), "gone": Object(7, "1")}
    monkeypatch.setattr(again.store, "list", lambda: stale)
    again.pull()
    assert sorted(path.name for path in again.directory.iterdir()) == ["a", "b"]


def test_a_download_that_fails_leaves_no_half_file(mirror, tmp_path):
    write(mirror.directory, {"a": b"1"})
    mirror.push()
    again = Mirror(ObjectStore(BUCKET), tmp_path / "again")
    with (
        failing("get_file", times=99),
        pytest.raises(UserError, match=r"run/a could not be downloaded: connection reset"),
    ):
        again.pull()
    assert list(again.directory.iterdir()) == []


def test_a_refusal_is_not_tried_again(mirror):
    write(mirror.directory, {"a": b"1"})
    with (
        failing("put_file", times=9, error=PermissionError("no such right")) as left,
        pytest.raises(UserError, match=r"no such right\. Check the address, your credentials"),
    ):
        mirror.push()
    assert left == [8]


def test_the_store_is_kept_up_to_date_while_a_run_lasts(mirror):
    with mirror.kept_up(every=0.01):
        write(mirror.directory, {"early": b"1"})
        wait_until(lambda: "early" in objects())
        write(mirror.directory, {"last": b"2"})
    assert set(objects()) == {"early", "last"}
    assert not [thread for thread in threading.enumerate() if thread.name == "upload"]


def test_a_last_push_that_fails_says_where_things_are(mirror):
    with (
        failing("put_file", times=10**6),
        pytest.raises(UserError, match=rf"is kept in {mirror.directory}"),
        mirror.kept_up(every=HANG_GUARD_SECONDS),
    ):
        write(mirror.directory, {"a": b"1"})
    assert (mirror.directory / "a").read_bytes() == b"1"


def test_checkpoints_of_several_hosts_are_theirs():
    assert is_no_checkpoint("run-0/metrics.jsonl")
    assert not is_no_checkpoint("run-0/checkpoints/10/d/0")
    assert is_no_checkpoint("checkpoints/10/_CHECKPOINT_METADATA")


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("DREAMDA_JAX_STAGING", str(tmp_path / "staging"))
    return tmp_path / "staging"


def test_a_local_path_is_itself(place, tmp_path):
    assert staging.local(tmp_path / "x") == tmp_path / "x"
    assert staging.local("~").is_absolute()
    with staging.mirrored(str(tmp_path), None) as mirrors:
        assert mirrors == []
    assert not place.exists()


def test_an_input_is_fetched_once(place, tmp_path, capsys, monkeypatch):
    store = ObjectStore("memory://bucket/images")
    write(tmp_path, {"cat": b"c" * 2_000_000})
    store.put(tmp_path / "cat", "cats/1.png")
    here = staging.local("memory://bucket/images")
    assert here.name == "images"
    assert (here / "cats/1.png").stat().st_size == 2_000_000
    assert "fetching    memory://bucket/images, 1 files, 2.0 MB" in capsys.readouterr().out
    with failing("get_file", times=1) as left:
        assert staging.local("memory://bucket/images") == here
    assert left == [1]
    one = staging.local("memory://bucket/images/cats/1.png")
    assert one.read_bytes() == b"c" * 2_000_000


def test_nothing_at_an_address_is_told(place):
    with pytest.raises(UserError, match="memory://bucket/none: there is nothing at this address"):
        staging.local("memory://bucket/none")


def test_a_mirrored_run_speaks_of_its_address_and_leaves_nothing_here(place, capsys):
    def fail():
        with staging.mirrored(BUCKET):
            here = staging.local(f"{BUCKET}/sub")
            here.mkdir()
            (here / "file").write_bytes(b"1")
            assert staging.address_of(here / "file") == f"{BUCKET}/sub/file"
            print(f"made {here}/file")
            raise UserError(f"{here} is full")

    with pytest.raises(UserError, match=r"^memory://bucket/run/sub is full$"):
        fail()
    assert capsys.readouterr().out == "made memory://bucket/run/sub/file\n"
    assert objects() == {"sub/file": b"1"}
    assert staging.address_of(place) is None
    assert not list((place / "runs").iterdir())


def test_what_could_not_be_sent_is_sent_by_the_next_run(place, capsys):
    def run(name):
        with staging.mirrored(BUCKET):
            here = staging.local(BUCKET)
            found = sorted(path.name for path in here.iterdir())
            (here / "config.json").write_bytes(b"settings")
            (here / name).write_bytes(b"1")
        return found

    assert run("a") == []
    with failing("put_file", times=99, only="/b"), pytest.raises(UserError, match="is kept in"):
        run("b")
    assert run("c") == ["a", "b", "config.json"]
    assert set(objects()) == {"a", "b", "c", "config.json"}
    # Of another run at the same address nothing is kept.
    with failing("put_file", times=99, only="/d"), pytest.raises(UserError, match="is kept in"):
        run("d")
    clear()
    assert run("e") == []


def test_a_process_that_does_not_push_changes_nothing_there(place):
    with staging.mirrored(BUCKET, pushes=False):
        (staging.local(BUCKET) / "mine").write_bytes(b"1")
    assert objects() == {}


@pytest.mark.parametrize("name", ["../planted", "a/../../planted", ".."])
def test_an_object_whose_name_leads_out_is_not_fetched(place, monkeypatch, name):
    store = ObjectStore(BUCKET)
    found = {f"{store._root}/{name}": {"size": 3, "type": "file"}}
    monkeypatch.setattr(store._fs, "find", lambda root, detail: found)
    with pytest.raises(UserError, match="leads out of it"):
        staging.local(BUCKET)
    assert not [path for path in place.rglob("*") if path.is_file()]

"""What is kept on a machine is kept where nobody else can put things."""

import os
import stat
from types import SimpleNamespace

import pytest

from dreamda_jax.data.files import private, staging
from dreamda_jax.data.files.object_store import ObjectStore
from dreamda_jax.errors import UserError
from tests.support.memory_store import clear

OTHERWISE = "Give another."
ADDRESS = "memory://bucket/weights"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home of this test's own, with an umask that lets the group write."""
    monkeypatch.delenv("DREAMDA_JAX_STAGING", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    before = os.umask(0o002)
    yield tmp_path / "home"
    os.umask(before)
    clear()


@pytest.fixture
def stored(tmp_path):
    """Something at `ADDRESS`."""
    (tmp_path / "model").write_bytes(b"theirs")
    ObjectStore(ADDRESS).put(tmp_path / "model", "model")


def mode(path):
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_new_directory_is_for_this_user_only(tmp_path):
    made = private.private_directory(tmp_path / "a" / "b", otherwise=OTHERWISE)
    assert mode(made) == 0o700
    assert private.private_directory(made, otherwise=OTHERWISE) == made


@pytest.mark.parametrize("before", [0o755, 0o775, 0o750])
def test_one_that_others_could_enter_is_closed(tmp_path, before):
    (tmp_path / "a").mkdir()
    (tmp_path / "a").chmod(before)
    assert mode(private.private_directory(tmp_path / "a", otherwise=OTHERWISE)) == 0o700


@pytest.mark.parametrize("kind", ["link", "dangling link", "file", "pipe", "everybody's"])
def test_what_is_planted_is_refused_and_left(tmp_path, kind):
    planted, elsewhere = tmp_path / "planted", tmp_path / "elsewhere"
    elsewhere.mkdir()
    elsewhere.chmod(0o755)
    match kind:
        case "link":
            planted.symlink_to(elsewhere)
        case "dangling link":
            planted.symlink_to(tmp_path / "nowhere")
        case "file":
            planted.touch()
        case "pipe":
            os.mkfifo(planted)
        case _:
            planted.mkdir()
            planted.chmod(0o777)
    with pytest.raises(UserError, match=r"planted.*Remove it\. Give another\."):
        private.private_directory(planted, otherwise=OTHERWISE)
    assert not list(elsewhere.iterdir())
    assert mode(elsewhere) == 0o755
    assert not (tmp_path / "nowhere").exists()


def test_another_user_s_is_refused(tmp_path, monkeypatch):
    (tmp_path / "theirs").mkdir(0o700)
    (tmp_path / "link").symlink_to("theirs")
    me = os.getuid()
    monkeypatch.setattr(private.os, "getuid", lambda: me + 1)
    real = private.Path.lstat

    def owned(path):  # as seen by another user than the one who made it
        found = real(path)
        return SimpleNamespace(st_mode=found.st_mode, st_uid=me + 2)

    monkeypatch.setattr(private.Path, "lstat", owned)
    with pytest.raises(UserError, match="belongs to another user"):
        private.private_directory(tmp_path / "theirs", otherwise=OTHERWISE)
    for name in ("theirs", "link"):
        with pytest.raises(UserError, match="belongs to another user"):
            private.check_place(tmp_path / name, otherwise=OTHERWISE)


def test_a_place_where_everybody_may_rename_things_is_none(tmp_path):
    place = tmp_path / "place"
    assert private.check_place(place, otherwise=OTHERWISE) == place  # not there yet
    place.mkdir()
    (tmp_path / "link").symlink_to(place)
    for allowed in (0o700, 0o755, 0o775, 0o1777):
        place.chmod(allowed)
        assert private.check_place(tmp_path / "link", otherwise=OTHERWISE)
    place.chmod(0o777)
    for path in (place, tmp_path / "link"):
        with pytest.raises(UserError, match="everybody may change what is in"):
            private.check_place(path, otherwise=OTHERWISE)


def test_a_parent_that_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be made \(File exists\)\. Give another"):
        private.private_directory(tmp_path / "file" / "a", otherwise=OTHERWISE)


def test_inputs_and_runs_are_staged_in_the_user_s_cache(stored, home):
    here = staging.local(ADDRESS)
    staged = home / ".cache" / "dreamda_jax" / "staging"
    assert here.is_relative_to(staged / "inputs")
    with staging.mirrored("memory://bucket/run"):
        assert staging.local("memory://bucket/run").is_relative_to(staged / "runs")
    assert [mode(path) for path in (staged, staged / "inputs", staged / "runs")] == [0o700] * 3


@pytest.mark.parametrize("given", [False, True])
def test_a_planted_staging_place_is_refused(stored, home, tmp_path, monkeypatch, given):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    root = home / ".cache" / "dreamda_jax" / "staging"
    if given:
        root = tmp_path / "given"
        monkeypatch.setenv("DREAMDA_JAX_STAGING", str(root))
    root.mkdir(parents=True)
    for kind in ("inputs", "runs"):
        (root / kind).symlink_to(elsewhere)
    with pytest.raises(UserError, match=r"inputs is a link.*DREAMDA_JAX_STAGING"):
        staging.local(ADDRESS)
    with (
        pytest.raises(UserError, match=r"runs is a link.*DREAMDA_JAX_STAGING"),
        staging.mirrored("memory://bucket/run"),
    ):
        pass
    assert not list(elsewhere.iterdir())


def test_relative_cache_homes_count_as_none(home, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "somewhere")
    assert private.cache_home() == home / ".cache" / "dreamda_jax"

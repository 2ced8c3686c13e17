"""Whose the output directory is: settings, lock, versions, free space."""

import errno
import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from dreamda_jax.data.files import atomic, run_directory, run_lock
from dreamda_jax.data.files.run_directory import check_free_space, check_settings, open_run
from dreamda_jax.data.files.run_settings import difference
from dreamda_jax.errors import UserError
from tests.support.paths import ROOT

SETTINGS = {"method": {"noise_scale": 3.0, "eta": 1}, "source": {"kind": "sample"}, "seed": 0}


def test_first_start_and_resumption(tmp_path):
    out = tmp_path / "a" / "run"
    with open_run(out, SETTINGS) as run:
        assert not run.resumed
        assert run.directory == out
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert json.loads(before["config.json"])["settings"] == SETTINGS
    versions = json.loads(before["versions.json"])
    assert versions["numpy"] == np.__version__
    assert {"python", "jax", "flax", "diffusers", "transformers", "dreamda-jax"} <= set(versions)
    with open_run(out, {**SETTINGS, "method": {"eta": 1.0, "noise_scale": np.float64(3)}}) as run:
        assert run.resumed
    for name in ("config.json", "versions.json"):
        assert (out / name).read_bytes() == before[name]


def test_changed_settings_are_shown_field_by_field(tmp_path):
    open_run(tmp_path, SETTINGS).close()
    make_something(tmp_path)
    changed = {"method": {"noise_scale": 5.0, "eta": 1, "new": "x"}, "source": {}, "seed": 0}
    with pytest.raises(UserError, match=r"noise_scale: 3\.0 here"):
        check_settings(tmp_path, changed)  # as a dry run asks
    with pytest.raises(UserError) as error:
        open_run(tmp_path, changed)
    lines = [line.strip() for line in str(error.value).splitlines()]
    assert "method.noise_scale: 3.0 here, 5.0 now" in lines
    assert 'method.new: not set here, "x" now' in lines
    assert 'source.kind: "sample" here, not set now' in lines
    assert "another output directory" in lines[-1]
    open_run(tmp_path, SETTINGS).close()  # the refused start holds no lock
    check_settings(tmp_path, SETTINGS)


def test_a_run_that_made_nothing_may_start_with_other_settings(tmp_path):
    open_run(tmp_path, SETTINGS).close()  # such as one whose model could not be loaded
    changed = {**SETTINGS, "seed": 1}
    check_settings(tmp_path, changed)
    open_run(tmp_path, changed).close()
    assert json.loads((tmp_path / "config.json").read_bytes())["settings"] == changed


def test_learned_embeddings_belong_to_their_settings(tmp_path):
    """A run that was stopped while it learnt has made no shard, and still something."""
    open_run(tmp_path, SETTINGS).close()
    (tmp_path / "learned").mkdir()
    (tmp_path / "learned" / "00000-of-00001.safetensors").write_bytes(b"x")
    open_run(tmp_path, SETTINGS).close()
    with pytest.raises(UserError, match="started with other settings"):
        open_run(tmp_path, {**SETTINGS, "seed": 1})


def test_a_run_without_its_config_is_not_called_something_else(tmp_path):
    open_run(tmp_path, SETTINGS).close()
    make_something(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json is missing or damaged"):
        open_run(tmp_path, SETTINGS)
    shutil.rmtree(tmp_path / "done")  # as in a training, which has no such folder
    with pytest.raises(UserError, match=r"config\.json is missing or damaged"):
        open_run(tmp_path, SETTINGS)


def make_something(directory):
    (directory / "done").mkdir()
    (directory / "done" / "x-train-00000-of-00001.json").write_text("{}")


def test_difference_of_values():
    assert difference({"a": 3, "p": (1, 2)}, {"a": 3.0, "p": [1, 2]}) == []
    assert difference({"a": float("nan")}, {"a": float("nan")}) == []
    assert difference({"a": True}, {"a": 1}) == ["a: true here, 1 now"]
    with pytest.raises(TypeError, match="plain value"):
        difference({"a": object()}, {})


def test_a_section_that_only_one_side_has_is_one_line():
    generated = {"method": {"noise_scale": 3.0, "steps": 50}, "image": {"resolution": 8}}
    trained = {"train": {"num_steps": 3, "seed": 0}, "image": {"resolution": 16}}
    assert difference(generated, trained) == [
        "section method: not now",
        "section train: not here",
        "image.resolution: 8 here, 16 now",
    ]


def test_other_software_is_told(tmp_path, monkeypatch, caplog):
    open_run(tmp_path, SETTINGS).close()
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "99")
    open_run(tmp_path, SETTINGS).close()
    assert 'here, "99" now' in caplog.text


def test_what_is_not_ours_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="is a file"):
        open_run(tmp_path / "file", SETTINGS)
    with pytest.raises(UserError, match="cannot be written"):
        open_run(tmp_path / "file" / "below", SETTINGS)
    with pytest.raises(UserError, match="holds something else: file"):
        open_run(tmp_path, SETTINGS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]
    for content in ('{"model_type": "clip"}', "[]", "{", '{"format": "dreamda_jax run"}'):
        model = tmp_path / "model"
        model.mkdir(exist_ok=True)
        (model / "config.json").write_text(content)  # a common name: a model has one too
        with pytest.raises(UserError, match=r"holds something else: config\.json"):
            open_run(model, SETTINGS)


def test_what_a_killed_start_leaves_is_ours(tmp_path):
    (tmp_path / ".lock-0").write_text("")
    (tmp_path / f"{atomic.PREFIX}~a~1~b~config.json").write_text("")
    assert not open_run(tmp_path, SETTINGS).resumed


def test_unwritable(tmp_path):
    if os.geteuid() == 0:  # root may write anywhere but here
        directory = Path("/proc/dreamda")
    else:
        directory = tmp_path / "closed"
        directory.mkdir(mode=0o500)
    with pytest.raises(UserError, match="cannot be written"):
        open_run(directory, SETTINGS)


HOLDER = """
    import os, signal, sys
    sys.path.insert(0, {repository!r})
    from pathlib import Path
    from dreamda_jax.data.files.run_directory import check_settings, open_run
    run = open_run(Path(sys.argv[1]), {settings!r})
    child = os.fork()  # as a data-loading worker
    if child == 0:
        signal.pause()
    print(child, flush=True)
    signal.pause()
"""


LATE_HOLDER = """
    import os, signal, sys, time
    sys.path.insert(0, {repository!r})
    from pathlib import Path
    from dreamda_jax.data.files import run_lock
    from dreamda_jax.data.files.run_directory import open_run
    run = open_run(Path(sys.argv[1]), {settings!r})
    run_lock._held_descriptors.clear()  # so that the worker keeps the lock
    child = os.fork()
    if child == 0:
        time.sleep(1)
        os._exit(0)
    print(child, flush=True)
    signal.pause()
"""


def test_a_second_process_is_refused_and_sigkill_frees_the_lock(tmp_path):
    script = textwrap.dedent(HOLDER.format(repository=str(ROOT), settings=SETTINGS))
    holder = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE)
    worker = int(holder.stdout.readline())
    try:
        with pytest.raises(UserError, match=f"in use by another process.*process {holder.pid} on"):
            open_run(tmp_path, SETTINGS)
        open_run(tmp_path, SETTINGS, process_index=1).close()  # another host of the same run
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with open_run(tmp_path, SETTINGS) as run:  # although the worker still lives
            assert run.resumed
    finally:
        os.kill(worker, signal.SIGKILL)
        holder.kill()


def test_a_worker_that_outlives_its_killed_parent_for_a_moment_is_waited_for(tmp_path):
    script = textwrap.dedent(LATE_HOLDER.format(repository=str(ROOT), settings=SETTINGS))
    holder = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE)
    assert int(holder.stdout.readline())
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with open_run(tmp_path, SETTINGS) as run:
        assert run.resumed


def test_hosts_starting_at_once_agree(tmp_path):
    def start(index):
        with open_run(tmp_path / "run", SETTINGS, process_index=index) as run:
            return run.resumed

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(start, range(8))) == [False] + [True] * 7
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"config.json", "versions.json", *(f".lock-{i}" for i in range(8))}


def test_create_if_absent_without_hard_links(tmp_path, monkeypatch):
    def refuse(source, target):
        raise PermissionError("no hard links")

    monkeypatch.setattr(os, "link", refuse)
    assert atomic.create_if_absent(tmp_path / "x", b"1")
    assert not atomic.create_if_absent(tmp_path / "x", b"2")
    assert (tmp_path / "x").read_bytes() == b"1"


def test_free_space(tmp_path):
    check_free_space(tmp_path / "not" / "yet", needed=1)
    free = run_directory.free_bytes(tmp_path / "not" / "yet")
    with pytest.raises(UserError, match="About 1,000,000,000,000,000,000 bytes are needed"):
        check_free_space(tmp_path, needed=10**18)
    assert free > 0


def test_held_bytes(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x").write_bytes(b"12345")
    (tmp_path / "y").write_bytes(b"123")
    assert run_directory.held_bytes(tmp_path) == 8
    assert run_directory.held_bytes(tmp_path / "absent") == 0


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_run_that_cannot_be_written_can_be_looked_at(tmp_path, monkeypatch, code):
    open_run(tmp_path, SETTINGS).close()
    make_something(tmp_path)

    def refuse(directory, process_index):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(run_lock, "hold", refuse)
    with open_run(tmp_path, SETTINGS) as run:
        assert (run.resumed, run.read_only) == (True, os.strerror(code))
        with pytest.raises(UserError, match=f"cannot be written \\({os.strerror(code)}"):
            run.require_writable()
    for directory, settings in ((tmp_path, {**SETTINGS, "seed": 1}), (tmp_path / "new", SETTINGS)):
        with pytest.raises(UserError, match="cannot be written"):
            open_run(directory, settings)


def test_settings_digest(tmp_path):
    assert run_directory.settings_digest(tmp_path) is None
    open_run(tmp_path, SETTINGS).close()
    first = run_directory.settings_digest(tmp_path)
    assert len(first) == 64
    open_run(tmp_path / "same", SETTINGS).close()
    assert run_directory.settings_digest(tmp_path / "same") == first
    open_run(tmp_path / "other", {**SETTINGS, "seed": 1}).close()
    assert run_directory.settings_digest(tmp_path / "other") != first
    (tmp_path / "config.json").write_text("[" * 100_000)
    assert run_directory.settings_digest(tmp_path) is None

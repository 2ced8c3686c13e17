"""The second start of a command finds its programs on the disk."""

import json
import os
import subprocess
import sys

import jax
import pytest

from dreamda_jax.runtime import compilation_cache
from tests.generate.test_generate import ROOT
from tests.support.generate_command import command, environment
from tests.support.waiting import HANG_GUARD_SECONDS

LEAST_TIME = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
EVENTS = "/jax/compilation_cache/"


def start(tmp_path, model, name, **changed):
    """Runs `generate`; returns what JAX counted: programs asked for, and those in the cache."""
    env = environment(1) | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    for name_of_this_suite in ("JAX_COMPILATION_CACHE_DIR", LEAST_TIME):
        del env[name_of_this_suite]
    counts = tmp_path / f"{name}.json"
    arguments = command(tmp_path / name, model, "--config.synthesis.max_seeds=2")[3:]
    done = subprocess.run(
        [sys.executable, "benchmarks/counted_command.py", str(counts), "generate", *arguments],
        cwd=ROOT,
        env=env | changed,
        capture_output=True,
        text=True,
        timeout=HANG_GUARD_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    events = json.loads(counts.read_text())
    names = ("compile_requests_use_cache", "cache_hits")
    return tuple(events.get(EVENTS + each, 0) for each in names)


@pytest.mark.slow
def test_a_second_start_compiles_nothing(tmp_path, micro_checkpoint):
    wanted, found = start(tmp_path, micro_checkpoint, "one")
    assert wanted > 1 + found
    again, found_again = start(tmp_path, micro_checkpoint, "two")
    assert found_again == again
    assert 0 < again <= wanted  # the rate of the CPU is measured once, by programs of its own
    kept = [path.relative_to(tmp_path) for path in (tmp_path / "cache").rglob("*-cache")]
    assert len(kept) == wanted - found
    assert all(str(path).startswith("cache/dreamda_jax/programs/cpu-") for path in kept)
    data = "fashion20_dreamda-train.array_record-00000-of-00001"
    assert (tmp_path / "one" / data).read_bytes() == (tmp_path / "two" / data).read_bytes()


@pytest.mark.slow
def test_what_compiles_quickly_can_be_left_out(tmp_path, micro_checkpoint):
    least = {LEAST_TIME: "1e9"}
    wanted, _ = start(tmp_path, micro_checkpoint, "one", **least)
    again, found = start(tmp_path, micro_checkpoint, "two", **least)
    assert 0 < again <= wanted
    assert found == 0


def test_jax_s_own_settings_come_first(tmp_path, monkeypatch):
    before = jax.config.jax_compilation_cache_dir
    assert before == os.environ["JAX_COMPILATION_CACHE_DIR"]
    compilation_cache.keep_programs()
    assert jax.config.jax_compilation_cache_dir == before


@pytest.mark.parametrize(("home", "where"), [("XDG_CACHE_HOME", "."), ("HOME", ".cache")])
def test_the_directory(tmp_path, monkeypatch, home, where):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv(home, str(tmp_path))
    programs = tmp_path / where / "dreamda_jax" / "programs"
    assert compilation_cache.directory("tpu") == programs / "tpu"
    cpu = compilation_cache.directory("cpu")
    assert cpu.parent == programs
    assert cpu == compilation_cache.directory("cpu")
    monkeypatch.setattr(compilation_cache, "_CPU_INFO", tmp_path / "absent")
    assert sys.platform != "linux" or compilation_cache.directory("cpu") != cpu


@pytest.mark.parametrize("planted", ["link", "everybody's"])
def test_programs_are_not_taken_from_where_others_can_write(tmp_path, monkeypatch, capsys, planted):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    programs = compilation_cache.directory("cpu")
    programs.parent.mkdir(parents=True)
    if planted == "link":
        (tmp_path / "theirs").mkdir()
        programs.symlink_to(tmp_path / "theirs")
    else:
        programs.mkdir()
        programs.chmod(0o777)
    before = jax.config.jax_compilation_cache_dir
    try:
        jax.config.update("jax_compilation_cache_dir", None)
        compilation_cache.keep_programs()
        assert jax.config.jax_compilation_cache_dir is None
        assert "note        compiled programs are not kept" in capsys.readouterr().err
        programs.unlink() if planted == "link" else programs.rmdir()
        compilation_cache.keep_programs()
        assert jax.config.jax_compilation_cache_dir == str(programs)
        assert programs.stat().st_mode & 0o777 == 0o700
    finally:
        jax.config.update("jax_compilation_cache_dir", before)

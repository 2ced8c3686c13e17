"""The second start of a command finds its programs on the disk."""

import os
import subprocess
import sys

import jax
import pytest

from dreamda_jax import compilation_cache
from tests.test_generate import ROOT, command, environment


def start(tmp_path, model, name, **changed):
    env = environment(1) | {"XDG_CACHE_HOME": str(tmp_path / "cache"), **changed}
    del env["JAX_COMPILATION_CACHE_DIR"]
    done = subprocess.run(
        command(tmp_path / name, model, "--config.synthesis.max_seeds=2"),
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    programs = (tmp_path / "cache").rglob("*-cache")
    return {str(path.relative_to(tmp_path)): path.stat().st_mtime_ns for path in programs}


def test_a_second_start_compiles_nothing_anew(tmp_path, micro_checkpoint):
    first = start(tmp_path, micro_checkpoint, "one")
    assert first
    assert all(name.startswith("cache/dreamda_jax/programs/cpu-") for name in first)
    assert start(tmp_path, micro_checkpoint, "two") == first
    data = "fashion20_dreamda-train.array_record-00000-of-00001"
    assert (tmp_path / "one" / data).read_bytes() == (tmp_path / "two" / data).read_bytes()


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

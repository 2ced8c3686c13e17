"""Checkpoints: exact, the newest kept, damage noticed."""

import errno
import gc
import os
import re
import shutil
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import pytest

from dreamda_jax.errors import UserError
from dreamda_jax.runtime import devices as mesh
from dreamda_jax.runtime.checkpoint import Checkpoints
from tests.support.on_devices import run_on_devices


def state(value: float, fsdp: int = 1):
    tree = {
        "weights": jnp.arange(8192.0).reshape(64, 128) + value,
        "bias": jnp.full((5,), value),
        "step": jnp.int32(value),
        "none": None,
    }
    return jax.device_put(tree, mesh.state_sharding(mesh.training_mesh(fsdp), tree))


def save(directory: Path, *steps: int, fsdp: int = 1) -> None:
    checkpoints = Checkpoints(directory)
    for step in steps:
        checkpoints.save(step, state(step, fsdp))
    checkpoints.close()


def restore(directory: Path, like):
    checkpoints = Checkpoints(directory)
    try:
        return checkpoints.restore(like)
    finally:
        checkpoints.close()


def damage(directory: Path, how) -> None:
    """Applies `how` to the largest file of a checkpoint, that of the weights."""
    file = max((f for f in directory.rglob("*") if f.is_file()), key=lambda f: f.stat().st_size)
    content = bytearray(file.read_bytes())
    file.write_bytes(how(content))


def flip_a_bit(content: bytearray) -> bytes:
    # In several places: a few bytes of a file are read by nobody.
    for place in range(len(content) // 8, len(content), len(content) // 4):
        content[place] ^= 1
    return bytes(content)


def test_nothing_to_restore(tmp_path):
    assert restore(tmp_path / "new", state(0)) is None


def test_the_newest_comes_back_exactly_and_the_last_two_are_kept(tmp_path):
    save(tmp_path, 10, 20, 30)
    step, found = restore(tmp_path, state(0))
    assert step == 30
    chex.assert_trees_all_equal(found, state(30))
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.isdigit()) == ["20", "30"]


def test_it_comes_back_in_another_sharding(tmp_path):
    save(tmp_path, 10)
    like = state(0, fsdp=2)
    _, found = restore(tmp_path, like)
    assert found["weights"].sharding == like["weights"].sharding
    assert not found["weights"].sharding.is_fully_replicated
    chex.assert_trees_all_equal(found, state(10))


@pytest.mark.parametrize(("saved", "restored"), [(8, 1), (1, 8), (4, 2)])
def test_it_comes_back_on_another_number_of_devices(tmp_path, saved, restored):
    module = "tests.support.checkpoint_on_devices"
    for step, devices in (("save", saved), ("restore", restored)):
        assert run_on_devices(module, step, str(tmp_path), devices=devices) == {"devices": devices}


def test_a_full_disk_is_a_message_and_not_pages_of_traceback(tmp_path, monkeypatch, capfd):
    checkpoints = Checkpoints(tmp_path)

    def fail():
        raise ValueError(f"RESOURCE_EXHAUSTED: Error writing: {os.strerror(errno.ENOSPC)} [28]")

    checkpoints.save(10, state(1))
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints._manager, "wait_until_finished", fail)
        with pytest.raises(UserError, match=r"No space left in .*: 32,\d+ bytes were needed"):
            checkpoints.wait()
    checkpoints.close()


@pytest.mark.parametrize(
    "how",
    [flip_a_bit, lambda content: bytes(content[: len(content) // 2]), lambda content: b""],
    ids=["flipped bit", "truncated", "empty"],
)
def test_a_damaged_newest_falls_back_to_the_one_before(tmp_path, capfd, how):
    save(tmp_path, 10, 20)
    damage(tmp_path / "20", how)
    step, found = restore(tmp_path, state(0))
    assert step == 10
    chex.assert_trees_all_equal(found, state(10))
    gc.collect()
    printed = capfd.readouterr()
    assert re.search(r"^damaged     .*20: .*; removed, going on from step 10\n$", printed.out)
    assert not printed.err  # orbax would say pages
    assert not (tmp_path / "20").exists()
    save(tmp_path, 20)  # training reaches the step again
    assert restore(tmp_path, state(0))[0] == 20


def test_when_all_are_damaged_it_says_so(tmp_path):
    save(tmp_path, 10, 20)
    damage(tmp_path / "10", flip_a_bit)
    damage(tmp_path / "20", flip_a_bit)
    with pytest.raises(UserError, match=r"Every checkpoint .* is damaged[\s\S]*remove"):
        restore(tmp_path, state(0))


def test_an_interrupted_save_is_not_seen(tmp_path):
    save(tmp_path, 10)
    (tmp_path / "20.orbax-checkpoint-tmp-1").mkdir()
    assert restore(tmp_path, state(0))[0] == 10


def steps(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.name.isdigit())


def make_empty(directory: Path) -> None:
    """What an interrupted `rm -r` or `rsync` leaves of a step."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()


def leave_the_mark(directory: Path) -> None:
    shutil.rmtree(directory / "default")


def leave_the_folders(directory: Path) -> None:
    for file in [path for path in directory.rglob("*") if path.is_file()]:
        file.unlink()


@pytest.mark.parametrize("cut", [make_empty, leave_the_mark, leave_the_folders])
@pytest.mark.parametrize("step", [7, 15, 20, 30])
def test_a_step_that_was_half_removed_harms_no_other(tmp_path, capfd, step, cut):
    save(tmp_path, 10, 20)
    if not (tmp_path / str(step)).exists():
        shutil.copytree(tmp_path / "20", tmp_path / str(step))
    cut(tmp_path / str(step))
    expected = 10 if step == 20 else 20
    found_step, found = restore(tmp_path, state(0))
    assert found_step == expected
    chex.assert_trees_all_equal(found, state(expected))
    newer = step > expected
    assert (f"{step}: " in capfd.readouterr().out) == newer
    assert (str(step) in steps(tmp_path)) != newer
    assert {"10", str(expected)} <= set(steps(tmp_path))
    save(tmp_path, 40)  # and training goes on
    assert restore(tmp_path, state(0))[0] == 40


def test_an_empty_step_alone_is_named_and_kept(tmp_path):
    (tmp_path / "20").mkdir()
    with pytest.raises(UserError, match=r"20: an empty directory\nPut back a copy"):
        restore(tmp_path, state(0))
    assert steps(tmp_path) == ["20"]


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: {**tree, "bias": jnp.zeros(6)},
        lambda tree: {**tree, "bias": jnp.zeros(5, jnp.bfloat16)},
        lambda tree: {**tree, "more": jnp.zeros(5)},
        lambda tree: {"weights": tree["weights"]},
    ],
    ids=["shape", "dtype", "more", "fewer"],
)
def test_checkpoints_of_another_network_are_not_called_damaged(tmp_path, change):
    save(tmp_path, 10, 20)
    with pytest.raises(UserError, match="fits what is trained now") as caught:
        restore(tmp_path, change(state(0)))
    assert "emove" not in str(caught.value)
    assert restore(tmp_path, state(0))[0] == 20


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        PermissionError(errno.EACCES, os.strerror(errno.EACCES)),
        ValueError(f"PERMISSION_DENIED: Error reading: {os.strerror(errno.EACCES)}"),
        ValueError(f"UNKNOWN: {os.strerror(errno.EMFILE)} [24]"),
        ValueError("RESOURCE_EXHAUSTED: Out of memory allocating 12 bytes"),
        OSError(errno.EIO, os.strerror(errno.EIO)),
    ],
    ids=lambda error: str(error)[:20] or "memory",
)
def test_what_cannot_be_read_for_now_is_kept(tmp_path, monkeypatch, error):
    save(tmp_path, 10, 20)
    checkpoints = Checkpoints(tmp_path)

    def fail(step, args):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints._manager, "restore", fail)
        with pytest.raises(UserError, match=r"20 cannot be read: .* it continues"):
            checkpoints.restore(state(0))
    checkpoints.close()
    assert steps(tmp_path) == ["10", "20"]
    assert restore(tmp_path, state(0))[0] == 20

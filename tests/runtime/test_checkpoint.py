"""Checkpoints: exact, the newest kept, damage noticed."""

import errno
import gc
import os
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
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


def assert_equal(found, expected) -> None:
    jax.tree.map(np.testing.assert_array_equal, found, expected)


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
    assert_equal(found, state(30))
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.isdigit()) == ["20", "30"]


def test_it_comes_back_in_another_sharding(tmp_path):
    save(tmp_path, 10)
    like = state(0, fsdp=2)
    _, found = restore(tmp_path, like)
    assert found["weights"].sharding == like["weights"].sharding
    assert not found["weights"].sharding.is_fully_replicated
    assert_equal(found, state(10))


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
    assert_equal(found, state(10))
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
    with pytest.raises(UserError, match=r"Every checkpoint .* is damaged[\s\S]*Remove"):
        restore(tmp_path, state(0))


def test_an_interrupted_save_is_not_seen(tmp_path):
    save(tmp_path, 10)
    (tmp_path / "20.orbax-checkpoint-tmp-1").mkdir()
    assert restore(tmp_path, state(0))[0] == 10

"""A fine-tuning that is killed or asked to stop ends as if it had not been."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dreamda_jax.runtime.log import read_log
from tests.support.paths import ROOT
from tests.support.small_finetuning import make_config, run
from tests.support.small_training import StopAfter
from tests.support.waiting import HANG_GUARD_SECONDS, wait_until

pytestmark = pytest.mark.slow

# It stands still between the first checkpoint and the end, which it would else reach in no time.
SCRIPT = """
import json, sys
from dreamda_jax.finetune import __main__ as finetune
from dreamda_jax.runtime import interrupt
from tests.support.held import HeldStop
from tests.support.waiting import HANG_GUARD_SECONDS
interrupt._GRACE_SECONDS = HANG_GUARD_SECONDS
def job(stop):
    return finetune._finetune(json.loads(sys.argv[1]), False, HeldStop(stop, sys.argv[2]))
sys.exit(interrupt.exit_code(job))
"""
OPTIONS = {"num_steps": 12, "checkpoint_every": 3, "accumulation": 2}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, micro_checkpoint):
    """(directory of images and cache, output of an uninterrupted run)."""
    directory = tmp_path_factory.mktemp("resume")
    config = make_config(directory, micro_checkpoint, output=str(directory / "whole"), **OPTIONS)
    assert run(config) == 0
    return directory, directory / "whole"


def start_and_hold(config: dict, written: Path) -> subprocess.Popen:
    command = [sys.executable, "-c", SCRIPT, json.dumps(config), str(written)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def assert_same_result(output: Path, expected: Path) -> None:
    assert read_log(output) == read_log(expected)
    name = "unet/diffusion_pytorch_model.safetensors"
    assert (output / name).read_bytes() == (expected / name).read_bytes()


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_a_stopped_run_gives_the_same_bytes(whole, micro_checkpoint, signum):
    directory, expected = whole
    output = directory / f"stopped-{signum.value}"
    config = make_config(directory, micro_checkpoint, output=str(output), **OPTIONS)
    written = output / "checkpoints" / "3"
    process = start_and_hold(config, written)
    wait_until(written.exists, process)
    os.kill(process.pid, signum)
    printed = process.communicate(timeout=HANG_GUARD_SECONDS)[0]
    assert process.returncode == (128 + signum if signum == signal.SIGTERM else -signum)
    if signum == signal.SIGTERM:  # it saved the step at hand
        assert "run the same command again" in printed
    assert not (output / "result.json").exists()
    assert run(config) == 0
    assert_same_result(output, expected)


def test_a_stop_between_checkpoints_saves_the_step_at_hand(whole, micro_checkpoint):
    directory, expected = whole
    output = directory / "asked"
    config = make_config(directory, micro_checkpoint, output=str(output), **OPTIONS)
    # Asked once for each batch of latents that is not in the cache (none), then before each step.
    assert run(config, StopAfter(5)) is None
    kept = sorted(int(path.name) for path in (output / "checkpoints").iterdir())
    assert kept[-1] not in (0, 3, 6, 9, 12)
    assert not (output / "result.json").exists()
    assert run(config) == 0
    assert_same_result(output, expected)


def test_a_damaged_newest_checkpoint_costs_one_interval(whole, micro_checkpoint, capsys):
    directory, expected = whole
    output = directory / "damaged"
    config = make_config(directory, micro_checkpoint, output=str(output), **OPTIONS)
    assert run(config, StopAfter(8)) is None
    newest = max((output / "checkpoints").iterdir(), key=lambda path: int(path.name))
    for file in newest.rglob("*"):
        if file.is_file() and file.stat().st_size > 1000:
            content = bytearray(file.read_bytes())
            content[len(content) // 2] ^= 0xFF
            file.write_bytes(bytes(content))
    assert run(config) == 0
    assert "; removed, going on from step" in capsys.readouterr().out
    assert_same_result(output, expected)


def test_the_seed_decides_the_result(whole, micro_checkpoint):
    directory, expected = whole
    output = directory / "other"
    run(make_config(directory, micro_checkpoint, output=str(output), seed=1, **OPTIONS))
    losses = [[row["train/loss"] for row in read_log(path)] for path in (output, expected)]
    assert not np.allclose(*losses, rtol=1e-3)

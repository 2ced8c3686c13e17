"""Training over processes: the numbers of one process, stops and deaths that cost nothing."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

from dreamda_jax.runtime.log import read_log
from tests.multihost.processes import ROOT, environment, finish, module, start, write_config
from tests.support.held import held
from tests.support.small_training import make_config
from tests.support.waiting import wait_until

pytestmark = pytest.mark.multihost

STEPS = 60


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """`command(name)` trains into directory `name`, which comes with it."""
    directory = tmp_path_factory.mktemp("train")

    def make(name: str) -> tuple[list[str], Path]:
        config = make_config(
            directory,
            output=str(directory / name),
            num_steps=STEPS,
            checkpoint_every=10,
            fsdp=2,  # parameters and optimizer state lie split over both processes
        )
        config["loader"]["num_workers"] = 0
        file = write_config(directory / f"{name}.py", config)
        return module("train", "--config", str(file)), directory / name

    return make


@pytest.fixture(scope="module")
def together(command):
    """The output of two processes that nothing happened to, and what they printed."""
    line, output = command("together")
    done = finish(start(line, count=2))
    assert [code for code, _ in done] == [0, 0], done
    return output, [printed for _, printed in done]


def start_until_a_checkpoint(
    line: list[str], output: Path, *, index: int
) -> list[subprocess.Popen]:
    """Two processes that have written one, beyond which the one of this index does not go."""
    written = output / "run-0" / "checkpoints" / "10"
    processes = start(line, count=2, others={index: held(line, written)})
    wait_until(written.exists, *processes)
    return processes


def assert_same(output: Path, expected: Path) -> None:
    assert read_log(output / "run-0") == read_log(expected / "run-0")
    results = [
        json.loads((each / "results.json").read_bytes())["runs"] for each in (output, expected)
    ]
    for name in ("test_accuracy", "best_test_accuracy", "best_step"):
        assert results[0][0][name] == results[1][0][name]


def test_two_processes_of_one_device_train_as_one_of_two(command, together):
    line, output = command("alone")
    done = subprocess.run(line, cwd=ROOT, env=environment(2), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    one, two = read_log(output / "run-0"), read_log(together[0] / "run-0")
    assert [row["step"] for row in one] == [row["step"] for row in two]
    losses = [[row["train/loss"] for row in rows if "train/loss" in row] for rows in (one, two)]
    # Sums over devices are taken by another library: float32 rounding, which training magnifies.
    assert losses[1][0] == pytest.approx(losses[0][0], rel=1e-5)
    np.testing.assert_allclose(losses[1][:5], losses[0][:5], rtol=1e-3)


def test_only_the_first_process_speaks(together):
    first, second = together[1]
    assert "2 hosts of 1 x cpu" in first
    assert "seed 0" in first
    assert not re.sub(r"\[Gloo\].*\n", "", second)


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_ends_the_others_and_the_same_command_goes_on(command, together, killed):
    line, output = command(f"killed-{killed}")
    processes = start_until_a_checkpoint(line, output, index=killed)
    processes[killed].send_signal(signal.SIGKILL)
    done = finish(processes)
    assert done[killed][0] == -signal.SIGKILL
    assert done[1 - killed][0] not in (0, None)
    again = finish(start(line, count=2))
    assert [code for code, _ in again] == [0, 0], again
    assert "continuing  from step" in again[0][1]
    assert_same(output, together[0])


def test_sigterm_to_one_stops_all_at_the_same_step(command, together):
    line, output = command("stopped")
    processes = start_until_a_checkpoint(line, output, index=1)
    os.kill(processes[1].pid, signal.SIGTERM)
    done = finish(processes)
    # The one that was signalled knows by what; the other was told to stop by it.
    assert done[1][0] == 128 + signal.SIGTERM, done
    assert re.search(r"saved       step \d+ of 60", done[0][1])
    again = finish(start(line, count=2))
    assert [code for code, _ in again] == [0, 0], again
    assert_same(output, together[0])


def test_one_that_comes_alone_is_told_and_does_not_hang(command):
    line, _ = command("nobody")
    processes = start(line, count=2, only=[1], flags=["--join_timeout=3"])
    ((code, printed),) = finish(processes)
    assert code == 1
    assert "error: process 1 of 2 waited 3 s for the other processes at 127.0.0.1:" in printed
    assert "Nobody answers there" in printed
    ((code, printed),) = finish(start(line, count=2, only=[0], flags=["--join_timeout=3"]))
    assert code == 1
    assert "process 0 of 2 waited 3 s" in printed
    assert "Not all of them came" in printed

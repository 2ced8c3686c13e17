"""Processes that share nothing but an object store: here fsspec's for files, by its address."""

import glob
import json
import signal
from pathlib import Path

import pytest

from dreamda_jax.runtime.log import read_log
from tests.multihost.processes import finish, module, start, write_config
from tests.support import small_training
from tests.support.generate_command import command, contents, generate
from tests.support.held import held
from tests.support.waiting import wait_until

pytestmark = pytest.mark.multihost


@pytest.fixture(autouse=True)
def _own_staging(tmp_path, monkeypatch):
    monkeypatch.setenv("DREAMDA_JAX_STAGING", str(tmp_path / "staging"))


def address(path: Path) -> str:
    return f"file://{path}"


def test_a_set_is_made_at_an_address_by_processes_that_come_and_go(tmp_path, micro_checkpoint):
    done = generate(tmp_path / "reference", micro_checkpoint)
    assert done.returncode == 0, done.stderr
    output = tmp_path / "set"
    line = command(address(output), micro_checkpoint)
    # Killed once somebody has made a shard, most likely before any was sent.
    made = tmp_path / "staging" / "runs" / "*" / "done" / "*"
    processes = start(line, count=2, others={1: held(line, made)})
    wait_until(lambda: glob.glob(str(made)), processes[1])
    processes[1].send_signal(signal.SIGKILL)
    done = finish(processes)
    assert done[0][0] == 0, done
    assert "shards of other processes are left" in done[0][1]
    again = finish(start(line, count=3))
    assert [code for code, _ in again] == [0, 0, 0], again
    assert contents(output) == contents(tmp_path / "reference")
    assert any(
        "done      36 images" in printed and address(output) in printed for _, printed in again
    )
    assert not [path for path in tmp_path.glob("staging/runs/*/*") if "array_record" in path.name]


def test_a_training_at_an_address_goes_on_where_its_checkpoints_are(tmp_path):
    logs = []
    for name in ("plain", "address"):
        config = small_training.make_config(tmp_path, num_steps=12, checkpoint_every=4)
        config["loader"]["num_workers"] = 0
        output = tmp_path / name
        config["train"]["output"] = str(output) if name == "plain" else address(output)
        line = module("train", "--config", str(write_config(tmp_path / f"{name}.py", config)))
        if name == "address":
            written = output / "run-0" / "checkpoints" / "4" / "_CHECKPOINT_METADATA"
            processes = start(line, count=2, others={1: held(line, written)})
            wait_until(written.exists, *processes)
            processes[1].send_signal(signal.SIGTERM)
            finish(processes)
        done = finish(start(line, count=2))
        assert [code for code, _ in done] == [0, 0], done
        logs.append(read_log(output / "run-0"))
        assert json.loads((output / "results.json").read_bytes())["runs"]
    assert logs[0] == logs[1]

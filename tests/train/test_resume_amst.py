"""AMST goes on as if it had never stopped, from every step and portion of its stages."""

import json
import shutil
import signal
import subprocess
import sys
import threading

import pytest

from dreamda_jax.runtime import image_sweep
from dreamda_jax.runtime.log import read_log
from dreamda_jax.train import build
from dreamda_jax.train.methods import open_method
from tests.support.small_training import StopAfter, make_amst_config
from tests.support.waiting import wait_until
from tests.train.test_resume import ROOT

# The first portion is on the disk, the second is being judged: there it waits for the signal.
SCRIPT = """
import json, sys, threading
from dreamda_jax.runtime import image_sweep
from dreamda_jax.train import build
from dreamda_jax.train.methods import open_method
image_sweep._PORTION = 4
write = image_sweep._write
def write_and_wait(file, portion):
    write(file, portion)
    threading.Event().wait()
image_sweep._write = write_and_wait
open_method(build.training(json.loads(sys.argv[1]))).train(0, threading.Event())
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """(config, training, run directory, directory of an uninterrupted run)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_sweep, "_PORTION", 4)
        directory = tmp_path_factory.mktemp("amst")
        config = make_amst_config(directory)
        config["train"] |= {"num_steps": 3, "ema_decay": 0.5}
        training = open_method(build.training(config))
        assert training.train(0, threading.Event()) is not None
        run = directory / "classifier" / "run-0"
        run.rename(directory / "whole")
        yield config, training, run, directory / "whole"


@pytest.fixture(autouse=True)
def clean(whole):
    yield
    shutil.rmtree(whole[2], ignore_errors=True)


def assert_the_same(run, whole):
    for stage, steps in (("stage1", 2), ("round-1", 3)):
        expected = read_log(whole / stage)
        assert [row["step"] for row in expected if "train/loss" in row] == [*range(1, steps + 1)]
        assert read_log(run / stage) == expected
    for file in ("round-1/verdicts.parquet", "round-1/audit.json"):
        assert (run / file).read_bytes() == (whole / file).read_bytes()
    results = [json.loads((path / "result.json").read_bytes()) for path in (run, whole)]
    assert results[0]["confusion"] == results[1]["confusion"]
    for name in ("test_accuracy", "best_test_accuracy", "best_step"):
        assert results[0]["result"][name] == results[1]["result"][name]
    for name in ("classifier", "classifier_best"):
        files = [(path / name / "model.safetensors").read_bytes() for path in (run, whole)]
        assert files[0] == files[1]


@pytest.mark.slow
def test_stopped_after_each_step_and_each_portion(whole):
    _, training, run, expected = whole
    judged = []
    while training.train(0, StopAfter(1)) is None:
        judged.append(len(list((run / "round-1" / "judged").glob("*.npz"))))
    # Two steps, three portions, three steps; nothing is asked after the very last one.
    assert len(judged) == 7
    assert set(judged) == {0, 1, 2}
    assert_the_same(run, expected)


@pytest.mark.slow
def test_killed_in_the_middle_of_stage_2(whole):
    config, training, run, expected = whole
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, json.dumps(config)], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    try:
        wait_until((run / "round-1" / "judged" / "000000000.npz").exists, process)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(list((run / "round-1" / "judged").iterdir())) == 1
    assert not (run / "round-1" / "verdicts.parquet").exists()
    assert training.train(0, threading.Event()) is not None
    assert not (run / "round-1" / "judged").exists()
    assert_the_same(run, expected)

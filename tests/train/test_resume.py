"""A training that is killed goes on as if it had not been; and it can learn at all."""

import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from dreamda_jax.runtime.log import read_log
from dreamda_jax.train import build
from dreamda_jax.train.methods import open_method
from tests.support.paths import ROOT
from tests.support.small_training import make_config
from tests.support.waiting import HANG_GUARD_SECONDS, wait_until

# Once what the second argument names is there, it goes no further.
SCRIPT = """
import json, sys, threading
from dreamda_jax.train import __main__ as train
from tests.support.held import HeldStop
train._train(json.loads(sys.argv[1]), False, HeldStop(threading.Event(), sys.argv[2]))
"""


def start(config: dict, *, hold_at: object = "") -> subprocess.Popen:
    command = [sys.executable, "-c", SCRIPT, json.dumps(config), str(hold_at)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, env=os.environ.copy())


@pytest.mark.slow
def test_a_killed_training_gives_the_same_curve_bit_for_bit(tmp_path):
    options = {"num_steps": 9, "checkpoint_every": 3, "ema_decay": 0.9}
    whole = make_config(tmp_path, output=str(tmp_path / "whole"), **options)
    whole["augment"] |= {"rand_augment": True, "mixup": 0.2}
    assert start(whole).wait(HANG_GUARD_SECONDS) == 0
    killed = json.loads(json.dumps(whole))
    killed["train"]["output"] = str(tmp_path / "killed")
    written = tmp_path / "killed" / "run-0" / "checkpoints" / "3"
    process = start(killed, hold_at=written)
    wait_until(written.exists, process)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed" / "run-0" / "result.json").exists()
    assert start(killed).wait(HANG_GUARD_SECONDS) == 0
    expected = read_log(tmp_path / "whole" / "run-0")
    assert [row["step"] for row in expected if "train/loss" in row] == list(range(1, 10))
    assert read_log(tmp_path / "killed" / "run-0") == expected
    results = [
        json.loads((tmp_path / name / "run-0" / "result.json").read_bytes())
        for name in ("whole", "killed")
    ]
    assert results[0]["confusion"] == results[1]["confusion"]


def test_being_asked_to_stop_saves_the_step_at_hand(tmp_path):
    setup = build.training(make_config(tmp_path, num_steps=4, checkpoint_every=4))
    training, stop = open_method(setup), threading.Event()
    stop.set()
    assert training.train(0, stop) is None
    result = training.train(0, threading.Event())
    assert result is not None


LEARN = """
import dataclasses, json, sys, threading
from dreamda_jax.train import build
from dreamda_jax.data.sources import Spread
from dreamda_jax.train.methods import open_method
setup = build.training(json.loads(sys.argv[1]))
length = setup.length._replace(epoch_images=64)
setup = dataclasses.replace(setup, real=Spread(setup.real, 64), length=length)
open_method(setup).train(0, threading.Event())
"""


@pytest.mark.slow
def test_it_learns_sixty_four_images_by_heart(tmp_path):
    config = make_config(tmp_path, num_steps=40, batch_size=64, checkpoint_every=40)
    config["source"] = {"kind": "sample", "split": "train"}
    config["validation"] = {}
    config["test"] = {"kind": "folder", "path": str(tmp_path / "test")}
    config["augment"] |= {"crop": "none", "flip": False}
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    command = [sys.executable, "-c", LEARN, json.dumps(config)]
    assert subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0
    rows = read_log(tmp_path / "classifier" / "run-0")
    assert rows[-1]["train/accuracy"] == 1.0

"""The same fine-tuning on one device, on eight, with its state split, and in portions."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from dreamda_jax.models import loading
from tests.conftest import QUICK

ROOT = Path(__file__).parents[2]
MODULE = "tests.finetuning.finetune_on_devices"


@pytest.fixture(scope="module")
def trained(tmp_path_factory, micro_checkpoint):
    """`trained(devices, options)`: what `finetune_on_devices` printed, and the result."""
    directory = tmp_path_factory.mktemp("devices")

    @functools.cache
    def train(devices: int, options: str = "{}") -> dict:
        output = directory / f"{devices}-{len(list(directory.iterdir()))}"
        flags = f"--xla_force_host_platform_device_count={devices} {QUICK}"
        given = json.dumps({**json.loads(options), "output": str(output)})
        done = subprocess.run(
            [sys.executable, "-m", MODULE, str(directory), str(micro_checkpoint), given],
            cwd=ROOT,
            env={**os.environ, "XLA_FLAGS": flags},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return {**json.loads(done.stdout.splitlines()[-1]), "output": output}

    return train


def assert_same_training(one: dict, other: dict) -> None:
    # The gradient's sums are taken in another order: float32 rounding. Adam's first steps divide by
    # the gradient's size, which magnifies it where that is small.
    np.testing.assert_allclose(other["losses"][0], one["losses"][0], rtol=1e-5)
    np.testing.assert_allclose(other["losses"], one["losses"], rtol=1e-4)
    np.testing.assert_allclose(other["norms"], one["norms"], rtol=1e-3)
    _, left = loading.load(one["output"])
    _, right = loading.load(other["output"])
    moved = [
        np.abs(np.asarray(a) - np.asarray(b))
        for a, b in zip(jax.tree.leaves(left["unet"]), jax.tree.leaves(right["unet"]), strict=True)
    ]
    # Three steps of at most 1e-3 each. The micro model's groups have one channel, so what a bias
    # before a GroupNorm adds is taken off again: its gradient is rounding, and Adam makes a whole
    # step of it. Those are one parameter in a hundred.
    assert max(array.max() for array in moved) < 7e-3
    assert np.mean(np.concatenate([array.ravel() for array in moved]) > 1e-4) < 0.03


def test_eight_devices_with_their_state_split_train_as_one(trained):
    one, eight = trained(1), trained(8)
    assert (one["devices"], eight["devices"]) == (1, 8)
    assert one["shares"] == {"params": 1.0, "ema": 1.0, "opt_state": 1.0}
    assert eight["shares"] == {"params": 1 / 8, "ema": 1 / 8, "opt_state": 1 / 8}
    assert_same_training(one, eight)


def test_data_and_fsdp_axes_together_train_as_one(trained):
    mixed = trained(8, json.dumps({"fsdp": 4}))
    assert mixed["shares"]["params"] == 1 / 4
    assert_same_training(trained(1), mixed)


def test_a_batch_in_portions_is_the_same_batch(trained):
    assert_same_training(trained(1), trained(1, json.dumps({"accumulation": 4})))


def test_rematerialisation_changes_nothing(trained):
    assert_same_training(trained(1), trained(1, json.dumps({"remat": True})))


@pytest.mark.parametrize("method", ["lora", "textual_inversion"])
def test_adapters_train_the_same_on_eight_devices(trained, method):
    options = json.dumps({"method": method})
    assert_same_training(trained(1, options), trained(8, options))

"""The same fine-tuning on one device, on eight, with its state split, and in portions."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from dreamda_jax.models.stable_diffusion import loading
from tests.support.on_devices import run_on_devices

pytestmark = pytest.mark.slow

METHODS = ("full", "lora", "textual_inversion")  # the last two have frozen networks


@pytest.fixture(scope="module")
def trained(tmp_path_factory, micro_checkpoint):
    """By number of devices what `finetune_on_devices` printed, and the directory of results."""
    directory = tmp_path_factory.mktemp("devices")
    plain = {method: {"method": method} for method in METHODS}
    return {
        1: train(directory, micro_checkpoint, 1, plain),
        8: train(
            directory,
            micro_checkpoint,
            8,
            {**plain, "mixed": {"fsdp": 4, "accumulation": 2, "remat": True}},
        ),
        "directory": directory,
    }


def train(directory: Path, checkpoint: Path, devices: int, jobs: dict) -> dict:
    given = json.dumps({f"{name}-{devices}": options for name, options in jobs.items()})
    arguments = (str(directory), str(checkpoint), given)
    printed = run_on_devices("tests.support.finetune_on_devices", *arguments, devices=devices)
    assert printed["devices"] == devices
    return printed


def assert_same_training(trained: dict, one: str, eight: str) -> None:
    left, right = trained[1][one], trained[8][eight]
    # The gradient's sums are taken in another order: float32 rounding. Adam's first steps divide by
    # the gradient's size, which magnifies it where that is small.
    np.testing.assert_allclose(right["losses"][0], left["losses"][0], rtol=1e-5)
    np.testing.assert_allclose(right["losses"], left["losses"], rtol=1e-4)
    np.testing.assert_allclose(right["norms"], left["norms"], rtol=1e-3)
    (_, first), (_, second) = (loading.load(trained["directory"] / name) for name in (one, eight))
    moved = [
        np.abs(np.asarray(a) - np.asarray(b)).ravel()
        for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    ]
    # Three steps of at most 1e-4 each. The micro model's groups have one channel, so what a bias
    # before a GroupNorm adds is taken off again: its gradient is rounding, and Adam makes a whole
    # step of it. Those are one parameter in a hundred.
    assert max(array.max() for array in moved) < 7e-4
    assert np.mean(np.concatenate(moved) > 1e-5) < 0.03


@pytest.mark.parametrize("method", METHODS)
def test_eight_devices_train_as_one(trained, method):
    assert_same_training(trained, f"{method}-1", f"{method}-8")


def test_both_axes_portions_and_rematerialisation_change_nothing(trained):
    assert_same_training(trained, "full-1", "mixed-8")


def test_parameters_average_and_optimizer_state_are_split(trained):
    assert set(trained[1]["full-1"]["shares"].values()) == {1.0}
    for name in ("params", "ema", "opt_state"):
        assert trained[8]["full-8"]["shares"][name] == 1 / 8
        assert trained[8]["mixed-8"]["shares"][name] == 1 / 4

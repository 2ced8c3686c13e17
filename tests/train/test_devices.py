"""The same training on one device, on eight, and with its state split over them."""

import functools

import numpy as np
import pytest

from tests.support.on_devices import run_on_devices

pytestmark = pytest.mark.slow

MODULE = "tests.support.train_on_devices"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """`trained(devices, fsdp)`: what `train_on_devices` printed, all on the same images."""
    directory = tmp_path_factory.mktemp("devices")

    @functools.cache
    def train(devices: int, fsdp: int, method: str = "supervised") -> dict:
        return run_on_devices(MODULE, str(directory), str(fsdp), method, devices=devices)

    return train


def test_eight_devices_train_as_one(trained):
    one, eight = trained(1, 1), trained(8, 1)
    assert (one["devices"], eight["devices"]) == (1, 8)
    assert len(one["losses"]) == 5
    # BatchNorm's and the gradient's sums are taken in another order: float32 rounding, which five
    # steps at a rate of 0.05 magnify. Statistics of one device's row alone would differ in the
    # first digit.
    np.testing.assert_allclose(eight["losses"], one["losses"], rtol=1e-3)
    np.testing.assert_allclose(eight["losses"][0], one["losses"][0], rtol=1e-5)


def test_fsdp_splits_the_parameters_and_changes_no_result(trained):
    replicated, split = trained(8, 1), trained(8, 4)
    assert (replicated["share"], split["share"]) == (1.0, 0.25)
    np.testing.assert_allclose(split["losses"], replicated["losses"], rtol=1e-3)
    np.testing.assert_allclose(split["losses"][0], replicated["losses"][0], rtol=1e-5)


def test_eight_devices_give_the_verdicts_of_one(trained):
    one, eight = trained(1, 1, "amst"), trained(8, 1, "amst")
    assert (one["devices"], eight["devices"]) == (1, 8)
    # Float32 rounding in the first losses; two steps magnify it for what comes after them.
    np.testing.assert_allclose(eight["stage1"][0], one["stage1"][0], rtol=1e-5)
    np.testing.assert_allclose(eight["stage1"], one["stage1"], rtol=1e-3)
    assert eight["predictions"] == one["predictions"]
    assert eight["accepted"] == one["accepted"]
    np.testing.assert_allclose(eight["probabilities"], one["probabilities"], atol=1e-3)
    np.testing.assert_allclose(eight["uncertainty"], one["uncertainty"], rtol=1e-2)
    np.testing.assert_allclose(eight["stage3"], one["stage3"], rtol=1e-2)

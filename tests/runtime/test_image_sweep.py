"""A prediction for every image of a set: order, padding, broken images, going on after a stop."""

import threading

import jax
import numpy as np
import pytest

from dreamda_jax.data.sources.synthetic_source import SyntheticSource
from dreamda_jax.runtime import devices, image_sweep
from dreamda_jax.runtime.sweep import View
from tests.support.small_training import StopAfter, make_synthetic


@jax.jit
def brightness(images, places):
    return {"mean": images.astype("float32").mean((1, 2, 3)), "place": places}


class Sweep:
    """Sweeps a set of eleven images in portions of four, and counts the batches predicted."""

    def __init__(self, directory, monkeypatch):
        monkeypatch.setattr(image_sweep, "_PORTION", 4)
        self.source = SyntheticSource(
            make_synthetic(
                directory / "made", seeds=11, variants=1, broken=[(2, 0)], pixels=self.pixels
            )
        )
        self.portions = directory / "portions"
        self.calls = 0
        self.batch_size = 12

    @staticmethod
    def pixels(seed, variant):
        return np.full((32, 32, 3), 20 * seed, np.uint8)

    def predict(self, images, places):
        assert images.shape[0] % devices.device_count() == 0
        assert images.shape[1:] == (16, 16, 3)
        self.calls += 1
        return brightness(images, places)

    def __call__(self, stop=None):
        return image_sweep.sweep(
            devices.training_mesh(1),
            self.source,
            self.predict,
            view=View(resolution=16, crop="center", batch_size=self.batch_size, num_workers=0),
            directory=self.portions,
            stop=stop or threading.Event(),
            note="test",
        )


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    return Sweep(tmp_path, monkeypatch)


def test_every_image_once_in_order_without_padding_and_broken_ones_named(sweep, capsys):
    found = sweep()
    assert found["place"].tolist() == list(range(11))
    assert found["labels"].tolist() == [place % 3 for place in range(11)]
    assert found["decoded"].tolist() == [place != 2 for place in range(11)]
    expected = np.where(found["decoded"], 20.0 * np.arange(11), 0)
    np.testing.assert_allclose(found["mean"], expected, rtol=1e-6)
    assert capsys.readouterr().out.count("left out    seed2/0") == 1


def test_portions_that_are_done_are_not_predicted_again(sweep):
    whole = sweep()
    assert sweep.calls == 3
    assert sorted(file.name for file in sweep.portions.iterdir()) == [
        "000000000.npz",
        "000000004.npz",
        "000000008.npz",
    ]
    again = sweep()
    assert sweep.calls == 3
    (sweep.portions / "000000004.npz").unlink()
    mended = sweep()
    assert sweep.calls == 4
    for other in (again, mended):
        assert other.keys() == whole.keys()
        for name, array in whole.items():
            np.testing.assert_array_equal(other[name], array, strict=True)
    image_sweep.remove(sweep.portions)
    assert not sweep.portions.exists()
    image_sweep.remove(sweep.portions)  # nothing left to do


def test_a_stop_keeps_the_portions_done(sweep):
    whole = sweep()
    image_sweep.remove(sweep.portions)
    sweep.calls = 0
    assert sweep(StopAfter(0)) is None
    assert sweep.calls == 0
    assert sweep(StopAfter(2)) is None
    assert sweep.calls == 2
    assert len(list(sweep.portions.iterdir())) == 2
    resumed = sweep()
    assert sweep.calls == 3
    for name, array in whole.items():
        np.testing.assert_array_equal(resumed[name], array, strict=True)


def test_a_portion_of_several_batches_gives_the_same(sweep, monkeypatch):
    whole = sweep()
    image_sweep.remove(sweep.portions)
    sweep.calls = 0
    monkeypatch.setattr(image_sweep, "_PORTION", 2048)
    sweep.batch_size = 4
    assert sweep(StopAfter(2)) is None
    assert not list(sweep.portions.iterdir())  # the portion was not finished
    batched = sweep()
    assert sweep.calls == 2 + 3
    for name, array in whole.items():
        np.testing.assert_array_equal(batched[name], array, strict=True)

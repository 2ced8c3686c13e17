"""How long a training will take is known from the stages of an earlier one."""

from pathlib import Path

import pytest

from dreamda_jax.runtime import compilation_cache, devices, forecast
from dreamda_jax.train import build
from dreamda_jax.train.duration import time_of_training
from dreamda_jax.train.setups import Description
from tests.support.small_training import make_config


@pytest.fixture
def setup(tmp_path, monkeypatch):
    monkeypatch.setattr(compilation_cache, "kept_in", lambda: tmp_path / "programs")
    return build.training(make_config(tmp_path, num_runs=3, num_steps=20))


def time_of(setup, described):
    return time_of_training(
        described,
        output=Path(setup.job.output),
        num_runs=setup.job.num_runs,
        notes_of=setup.notes_of,
        forward_flops=1e6,
        dtype=setup.network.options.dtype,
    )


def test_first_a_bound_then_the_last_run(setup, monkeypatch):
    monkeypatch.setattr(forecast, "_rate", lambda dtype: (1e9, "of a test"))
    described = setup.describe()
    assert described.stages == (("supervised", 20),)
    bound = time_of(setup, described)
    assert bound.is_bound
    # three passes of eight images at 1 MFLOP, on devices of 1 GFLOP/s each
    assert bound.each == pytest.approx(3 * 8 * 1e6 / 1e9 / devices.device_count())
    assert bound.units == 60
    setup.notes_of("supervised").put(seconds_each=0.5)
    known = time_of(setup, described)
    assert (known.seconds, known.unit, known.is_bound) == (30.0, "step", False)


def test_another_learning_rate_takes_as_long_and_another_batch_does_not(setup, tmp_path):
    setup.notes_of("supervised").put(seconds_each=0.5)
    slower = build.training(make_config(tmp_path, learning_rate=0.001))
    assert slower.notes_of("supervised").seconds_each == 0.5
    larger = build.training(make_config(tmp_path, batch_size=12))
    assert larger.notes_of("supervised").seconds_each is None


def test_a_run_of_several_stages_needs_word_of_each(setup, monkeypatch):
    monkeypatch.setattr(forecast, "_rate", lambda dtype: (1e9, "of a test"))
    described = Description("amst", 100, (("stage 1", 10), ("stage 2", 40), ("stage 3", 30)))
    setup.notes_of("stage 1").put(seconds_each=1.0)
    setup.notes_of("stage 2").put(seconds_each=0.5)
    bound = time_of(setup, described)
    assert (bound.unit, bound.units, bound.is_bound) == ("run", 3, True)
    setup.notes_of("stage 3").put(seconds_each=2.0)
    known = time_of(setup, described)
    assert known.each == 10 * 1.0 + 40 * 0.5 + 30 * 2.0
    assert known.seconds == 3 * known.each


def test_runs_that_have_ended_take_none(setup, tmp_path):
    setup.notes_of("supervised").put(seconds_each=0.5)
    done = tmp_path / "classifier" / "run-0" / "result.json"
    done.parent.mkdir(parents=True)
    done.write_text("{}")
    left = time_of(setup, setup.describe())
    assert left.seconds == 20.0

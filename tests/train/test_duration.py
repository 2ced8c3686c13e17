"""How long a training will take is known from the stages of an earlier one."""

import pytest

from dreamda_jax.runtime import compilation_cache, devices, forecast
from dreamda_jax.train import build
from dreamda_jax.train.duration import time_of_training
from dreamda_jax.train.methods import Description, describe
from dreamda_jax.train.programs import notes_of
from tests.support.small_training import make_config


@pytest.fixture
def parts(tmp_path, monkeypatch):
    monkeypatch.setattr(compilation_cache, "kept_in", lambda: tmp_path / "programs")
    return build.training(make_config(tmp_path, num_runs=3, num_steps=20))


def test_first_a_bound_then_the_last_run(parts, monkeypatch):
    monkeypatch.setattr(forecast, "_rate", lambda dtype: (1e9, "of a test"))
    described = describe(parts)
    assert described.stages == (("supervised", 20),)
    bound = time_of_training(parts, described, forward_flops=1e6)
    assert bound.is_bound
    # three passes of eight images at 1 MFLOP, on devices of 1 GFLOP/s each
    assert bound.each == pytest.approx(3 * 8 * 1e6 / 1e9 / devices.device_count())
    assert bound.units == 60
    notes_of(parts, "supervised").put(seconds_each=0.5)
    known = time_of_training(parts, described, forward_flops=1e6)
    assert (known.seconds, known.unit, known.is_bound) == (30.0, "step", False)


def test_another_learning_rate_takes_as_long_and_another_batch_does_not(parts, tmp_path):
    notes_of(parts, "supervised").put(seconds_each=0.5)
    slower = build.training(make_config(tmp_path, learning_rate=0.001))
    assert notes_of(slower, "supervised").seconds_each == 0.5
    larger = build.training(make_config(tmp_path, batch_size=12))
    assert notes_of(larger, "supervised").seconds_each is None


def test_a_run_of_several_stages_needs_word_of_each(parts, monkeypatch):
    monkeypatch.setattr(forecast, "_rate", lambda dtype: (1e9, "of a test"))
    described = Description("amst", 100, (("stage 1", 10), ("stage 2", 40), ("stage 3", 30)))
    notes_of(parts, "stage 1").put(seconds_each=1.0)
    notes_of(parts, "stage 2").put(seconds_each=0.5)
    bound = time_of_training(parts, described, forward_flops=1e6)
    assert (bound.unit, bound.units, bound.is_bound) == ("run", 3, True)
    notes_of(parts, "stage 3").put(seconds_each=2.0)
    known = time_of_training(parts, described, forward_flops=1e6)
    assert known.each == 10 * 1.0 + 40 * 0.5 + 30 * 2.0
    assert known.seconds == 3 * known.each


def test_runs_that_have_ended_take_none(parts, tmp_path):
    notes_of(parts, "supervised").put(seconds_each=0.5)
    done = tmp_path / "classifier" / "run-0" / "result.json"
    done.parent.mkdir(parents=True)
    done.write_text("{}")
    left = time_of_training(parts, describe(parts), forward_flops=1e6)
    assert left.seconds == 20.0

"""What a training compiles: once for all its runs, whatever their seed."""

import chex
import jax
import jax.numpy as jnp
import pytest

from dreamda_jax.models.classifiers import pretrained
from dreamda_jax.runtime import devices
from dreamda_jax.train import build
from dreamda_jax.train.methods import open_programs
from dreamda_jax.train.programs import Programs
from tests.support.small_training import make_config


@pytest.fixture
def setup(tmp_path):
    return build.training(make_config(tmp_path))


def pull(params, batch_stats, method_state, key, batch):
    """Towards the batch; the key's draw makes seeds differ."""
    target = batch + jax.random.uniform(key)
    loss = jnp.sum((params["weights"] - target) ** 2)
    return loss, (batch_stats, method_state, {"accuracy": jnp.float32(0)})


def test_a_second_run_compiles_nothing(setup):
    programs = Programs(setup.network, setup.recipe, devices.training_mesh())
    variables = {"params": {"weights": jnp.zeros(3)}, "batch_stats": {}}
    chex.clear_trace_counter()
    loss = chex.assert_max_traces(pull, n=1)
    stage = programs.stage(loss, variables, length=setup.length)
    ended = []
    for seed in (0, 1):
        state, step = stage.first_state(variables, None), stage.of(jax.random.key(seed))
        for _ in range(2):
            state, metrics = step(state, jnp.ones(3))
        ended.append(state.params)
        assert metrics["loss"] > 0
    with pytest.raises(AssertionError, match="Values not exactly equal"):
        chex.assert_trees_all_equal(*ended)


def test_the_shapes_of_a_batch_are_those_that_the_main_stage_takes(setup):
    mesh = devices.training_mesh()
    programs = open_programs(setup, mesh)
    batch = programs.batch_shapes(8, canvas=setup.reading.canvas)
    side = setup.reading.canvas
    chex.assert_shape(batch.images, (8, side, side, 3))
    start = jax.eval_shape(programs.main_start, programs.variable_shapes)
    state = jax.eval_shape(programs.main_stage.first_state, *start)
    key = jax.eval_shape(jax.random.key, 0)
    after, metrics = jax.eval_shape(programs.main_stage.step, key, state, batch)
    chex.assert_trees_all_equal_shapes_and_dtypes(after, state)
    assert metrics["loss"].shape == ()


@pytest.mark.parametrize(("image_size", "is_said"), [(32, True), (256, False)])
def test_weights_that_another_library_uses_otherwise_at_this_size(
    setup, monkeypatch, capsys, image_size, is_said
):
    architecture = setup.network.architecture._replace(renamed_elsewhere="as X", image_size=256)
    network = setup.network._replace(
        architecture=architecture, weights="file", image_size=image_size
    )
    loaded = pretrained.Loaded({}, head_replaced=None, is_renamed=True)
    monkeypatch.setattr(pretrained, "load", lambda *arguments: loaded)
    Programs(network, setup.recipe, devices.training_mesh()).first_variables(0)
    assert ("note        as X" in capsys.readouterr().out) == is_said

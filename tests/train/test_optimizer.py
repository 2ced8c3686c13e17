"""Optimizers against torch, learning rates against timm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamda_jax.options.training import RECIPES, Recipe
from dreamda_jax.train.optimizer import learning_rate_schedule, make_optimizer
from tests.support.paths import REFERENCE

ARRAYS = np.load(REFERENCE / "optimizer.npz")


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("sgd", Recipe(learning_rate=0.1, weight_decay=0.01)),
        ("sgd_clipped", Recipe(learning_rate=0.1, weight_decay=0.01, clip_norm=1.0)),
        ("adamw", Recipe(optimizer="adamw", learning_rate=0.1, weight_decay=0.05)),
    ],
)
def test_steps_are_those_of_torch(name, recipe):
    optimizer = make_optimizer(recipe, lambda step: recipe.learning_rate)
    start = jnp.asarray(ARRAYS["start"])
    params = {"matrix": start[:12].reshape(3, 4), "bias": start[12:]}
    state = optimizer.init(params)
    for gradient, expected in zip(ARRAYS["gradients"], ARRAYS[name], strict=True):
        gradients = {
            "matrix": gradient[:12].reshape(3, 4) + params["matrix"],
            "bias": gradient[12:] + params["bias"],
        }
        updates, state = optimizer.update(gradients, state, params)
        params = jax.tree.map(jnp.add, params, updates)
        found = np.concatenate([params["matrix"].reshape(-1), params["bias"]])
        # Six steps of float32 sums in another order; Adam divides by roots of small moments.
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("cosine", Recipe(warmup_epochs=7, warmup_learning_rate=1e-5)),
        ("cosine_without_warmup", Recipe()),
        ("step", Recipe(schedule="step", warmup_epochs=7, warmup_learning_rate=1e-5)),
    ],
)
def test_learning_rates_are_those_of_timm(name, recipe):
    recipe = Recipe(**{**vars(recipe), "learning_rate": 0.1, "decay_epochs": 30})
    schedule = learning_rate_schedule(recipe, steps_per_epoch=1.0, num_steps=100)
    # float32 cosine: 1e-7 of the peak.
    np.testing.assert_allclose(schedule(np.arange(100)), ARRAYS[name], rtol=1e-5, atol=1e-8)


def test_warm_up_takes_at_most_a_tenth_of_the_steps():
    recipe = Recipe(schedule="constant", warmup_epochs=5, learning_rate=1.0)
    schedule = learning_rate_schedule(recipe, steps_per_epoch=10.0, num_steps=100)
    assert float(schedule(5)) == pytest.approx(0.5)
    assert float(schedule(10)) == 1.0


def test_steps_follow_epochs_unless_given():
    assert Recipe(num_epochs=10, batch_size=64).steps(epoch_images=1000) == 156
    assert Recipe(num_epochs=10, batch_size=64, num_steps=7).steps(epoch_images=1000) == 7
    assert Recipe(num_epochs=1, batch_size=64).steps(epoch_images=3) == 1


def test_named_recipes_hold_the_published_numbers():
    official, scratch = RECIPES["official"], RECIPES["gif_scratch"]
    assert (official.momentum, official.learning_rate, official.weight_decay) == (0.9, 0.01, 1e-4)
    assert (official.batch_size, official.schedule, official.warmup_epochs) == (64, "cosine", 5)
    assert (scratch.num_epochs, scratch.batch_size) == (100, 256)
    assert (scratch.weight_decay, scratch.learning_rate) == (1e-4, 0.01)


@pytest.mark.parametrize(
    ("field", "value"),
    [("learning_rate", 0.0), ("ema_decay", 1.0), ("weight_decay", -1.0), ("batch_size", 0)],
)
def test_values_out_of_range_are_named(field, value):
    with pytest.raises(ValueError, match=field):
        Recipe(**{field: value})

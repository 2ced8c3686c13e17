"""What a network is trained on: draws that follow from a row's key, and the squared error.

The draws are fixed by the key, so a bound holds for ever or never; bounds are five standard errors.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from dreamda_jax.algorithms.diffusion import denoising_loss
from dreamda_jax.algorithms.diffusion.denoising_loss import Objective
from dreamda_jax.algorithms.diffusion.loss_weights import loss_weights
from dreamda_jax.algorithms.diffusion.schedule import alphas_cumprod, noise_level

T = 1000
ALPHA = alphas_cumprod(T, 0.00085, 0.012, "scaled_linear")
KEY = jax.random.key(11)
MANY = 20_000


def objective(prediction_type="epsilon", weighting="p2"):
    weights = loss_weights(ALPHA, prediction_type, weighting)
    return Objective(prediction_type, noise_level(ALPHA), weights)


def keys_of(rows):
    return denoising_loss.row_keys(KEY, jnp.asarray(rows, jnp.int32))


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_noised_latents_and_targets_are_their_formulas(prediction_type):
    timesteps = np.array([0, 1, 250, 500, 999], np.int32)
    x0, noise = normal(2, 5, 4, 3, 2)
    found = denoising_loss.noised(x0, noise, timesteps, objective(prediction_type))
    alpha = ALPHA[timesteps][:, None, None, None]
    x0, noise = x0.astype(np.float64), noise.astype(np.float64)
    latents = np.sqrt(alpha) * x0 + np.sqrt(1 - alpha) * noise
    target = {
        "epsilon": noise,
        "v_prediction": np.sqrt(alpha) * noise - np.sqrt(1 - alpha) * x0,
    }[prediction_type]
    # Two products and a sum of numbers of size 1 to 4 in float32.
    np.testing.assert_allclose(found.latents, latents, atol=1e-6)
    np.testing.assert_allclose(found.target, target, atol=1e-6)
    np.testing.assert_array_equal(found.timesteps, timesteps)
    assert found.latents.dtype == found.target.dtype == jnp.float32


def everything(rows, x0, std, context, empty):
    keys = keys_of(rows)
    drawn = denoising_loss.draw_latents(keys, x0, std)
    kept = denoising_loss.drop_prompts(keys, context, empty, 0.5)
    return drawn, kept, *denoising_loss.add_training_noise(keys, x0, objective("v_prediction"))


def test_a_row_s_draws_depend_on_its_key_alone():
    count = 12
    x0, std = normal(count, 4, 3, 2), np.abs(normal(count, 4, 3, 2, seed=1))
    context, empty = normal(count, 2, 3, seed=2), normal(2, 3, seed=3)
    rows = np.arange(count)
    whole = everything(rows, x0, std, context, empty)
    for chosen in (rows[::-1], rows[7:8]):
        part = everything(chosen, x0[chosen], std[chosen], context[chosen], empty)
        for alone, together in zip(part, whole, strict=True):
            np.testing.assert_array_equal(alone, together[chosen])
    other = denoising_loss.row_keys(jax.random.key(12), jnp.arange(count))
    noised = denoising_loss.add_training_noise(other, x0, objective("v_prediction"))
    assert (np.asarray(noised.timesteps) != whole[2]).any()


def test_documented_derivation():
    """Anyone can draw a row's numbers again: its place in the batch, then the draw's purpose."""
    key = jax.random.fold_in(KEY, 5)
    purposes = [jax.random.fold_in(key, purpose) for purpose in range(4)]
    x0 = normal(1, 4, 3, 2)
    noised = denoising_loss.add_training_noise(keys_of([5]), x0, objective())
    assert noised.timesteps[0] == jax.random.randint(purposes[0], (), 0, T)
    np.testing.assert_array_equal(noised.target[0], jax.random.normal(purposes[1], (4, 3, 2)))
    drawn = denoising_loss.draw_latents(keys_of([5]), x0, np.ones_like(x0))
    expected = x0[0] + jax.random.normal(purposes[2], (4, 3, 2))
    np.testing.assert_array_equal(drawn[0], expected)
    kept = denoising_loss.drop_prompts(keys_of([5]), np.ones((1, 1, 1)), np.zeros((1, 1)), 0.5)
    assert kept[0, 0, 0] == 1 - jax.random.bernoulli(purposes[3], 0.5)


@pytest.fixture(scope="module")
def draws():
    """(timesteps, noise, posterior noise, which are dropped) of many rows of four numbers each."""
    keys = keys_of(np.arange(MANY))
    zeros = np.zeros((MANY, 4, 1, 1), np.float32)
    noised = denoising_loss.add_training_noise(keys, zeros, objective())
    posterior = denoising_loss.draw_latents(keys, zeros, np.ones_like(zeros))
    context = denoising_loss.drop_prompts(keys, np.ones((MANY, 1, 1)), np.zeros((1, 1)), 0.1)
    return (
        np.asarray(noised.timesteps),
        np.asarray(noised.target, np.float64).reshape(MANY, -1),
        np.asarray(posterior, np.float64).reshape(MANY, -1),
        np.asarray(context).ravel() == 0,
    )


def test_timesteps_are_uniform(draws):
    timesteps = draws[0]
    assert timesteps.dtype == np.int32
    assert (timesteps.min(), timesteps.max()) == (0, T - 1)
    counts = np.bincount(timesteps // 10, minlength=100)
    # Honest draws are that uneven once in ten thousand times.
    assert scipy.stats.chisquare(counts).pvalue > 1e-4
    assert abs(timesteps.mean() - 499.5) < 5 * T / np.sqrt(12 * MANY)


@pytest.mark.parametrize("which", ["noise", "posterior"])
def test_noise_is_standard_normal(draws, which):
    each = draws[1 if which == "noise" else 2]
    every = each.ravel()
    assert abs(every.mean()) < 5 / np.sqrt(every.size)
    assert abs(every.var() - 1) < 5 * np.sqrt(2 / every.size)
    assert scipy.stats.kstest(every, "norm").pvalue > 1e-4
    # Neither the numbers of one row nor rows beside each other know of one another.
    correlation = np.corrcoef(np.concatenate([each[:-1], each[1:]], axis=1), rowvar=False)
    assert np.abs(correlation - np.eye(8)).max() < 5 / np.sqrt(MANY)


def test_draws_of_one_row_are_independent(draws):
    timesteps, noise, posterior, dropped = draws
    columns = np.concatenate(
        [timesteps[:, None], noise, posterior, dropped[:, None]], axis=1, dtype=np.float64
    )
    for power in (1, 2):  # equal magnitudes with other signs are not independent either
        centred = (columns - columns.mean(axis=0)) ** power
        correlation = np.corrcoef(centred, rowvar=False)
        assert np.abs(correlation - np.eye(len(correlation))).max() < 5 / np.sqrt(MANY)


def test_latents_are_drawn_from_the_posterior():
    count = 500
    mean, std = normal(count, 4, 4, 4), np.exp(normal(count, 4, 4, 4, seed=1))
    keys = keys_of(np.arange(count))
    drawn = np.asarray(denoising_loss.draw_latents(keys, mean, std))
    standard = (drawn.astype(np.float64) - mean) / std
    assert abs(standard.mean()) < 5 / np.sqrt(standard.size)
    assert abs(standard.var() - 1) < 5 * np.sqrt(2 / standard.size)
    # A small and a large deviation alike.
    small = standard[std < np.median(std)]
    assert abs(small.var() - 1) < 5 * np.sqrt(2 / small.size)
    without = denoising_loss.draw_latents(keys, mean, np.zeros_like(std))
    np.testing.assert_array_equal(without, mean)


def test_one_prompt_in_ten_is_dropped(draws):
    dropped = draws[3]
    assert abs(dropped.mean() - 0.1) < 5 * np.sqrt(0.1 * 0.9 / MANY)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_dropped_prompt_is_the_empty_one_whole(dtype):
    context = jnp.asarray(normal(200, 3, 5), dtype)
    empty = jnp.asarray(normal(3, 5, seed=1), dtype)
    keys = keys_of(np.arange(200))
    kept = denoising_loss.drop_prompts(keys, context, empty, 0.3)
    assert kept.dtype == dtype
    dropped = np.asarray(kept[:, 0, 0] == empty[0, 0])
    assert 0 < dropped.sum() < 200
    np.testing.assert_array_equal(kept[~dropped], context[~dropped])
    np.testing.assert_array_equal(
        kept[dropped], np.broadcast_to(empty, (dropped.sum(), *empty.shape))
    )
    none = denoising_loss.drop_prompts(keys, context, empty, 0.0)
    np.testing.assert_array_equal(none, context)
    every = denoising_loss.drop_prompts(keys, context, empty, 1.0)
    np.testing.assert_array_equal(every, np.broadcast_to(empty, context.shape))


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_squared_errors_and_weights_are_those_of_each_row(prediction_type):
    x0, noise = normal(2, 3, 4, 3, 2)
    timesteps, context = np.array([999, 0, 400], np.int32), normal(3, 2, 5, seed=1)
    wanted = objective(prediction_type, "min_snr")
    rows = denoising_loss.noised(x0, noise, timesteps, wanted)

    def denoise(latents, t, text):
        np.testing.assert_array_equal(latents, rows.latents)
        return 0.5 * latents + text.mean((1, 2))[:, None, None, None] * t[:, None, None, None]

    errors, weights = denoising_loss.squared_errors(denoise, rows, context, wanted)
    latents, target = np.asarray(rows.latents, np.float64), np.asarray(rows.target, np.float64)
    for row in range(3):
        output = 0.5 * latents[row] + context[row].astype(np.float64).mean() * timesteps[row]
        # Sums of 24 float32 squares.
        expected = np.square(output - target[row]).mean()
        np.testing.assert_allclose(errors[row], expected, rtol=1e-5)
    np.testing.assert_array_equal(weights, wanted.weights[timesteps])
    assert errors.dtype == weights.dtype == jnp.float32

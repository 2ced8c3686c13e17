"""Weights of noise levels against their formulas, written out in float64 for SD's schedule."""

import jax.numpy as jnp
import numpy as np
import pytest

from dreamda_jax.algorithms.diffusion.denoising_loss import Noised, Objective, squared_errors
from dreamda_jax.algorithms.diffusion.loss_weights import (
    loss_weights,
    min_snr_weights,
    p2_weights,
    signal_to_noise,
)
from dreamda_jax.algorithms.diffusion.schedule import alphas_cumprod, noise_level

ALPHA = alphas_cumprod(1000, 0.00085, 0.012, "scaled_linear")
# The only rounding is the last one, to float32: half a unit, 6e-8.
FLOAT32 = {"rtol": 1e-7}


def sd_snr():
    """ᾱ_t / (1 − ᾱ_t), step by step."""
    first, last = 0.00085**0.5, 0.012**0.5
    alpha, found = 1.0, []
    for t in range(1000):
        alpha *= 1 - (first + (last - first) * t / 999) ** 2
        found.append(alpha / (1 - alpha))
    return np.array(found)


def test_signal_to_noise_falls_from_a_thousand_to_a_two_hundredth():
    snr = signal_to_noise(ALPHA)
    np.testing.assert_allclose(snr, sd_snr(), rtol=1e-10)  # products in another order
    assert (np.diff(snr) < 0).all()
    assert snr.dtype == np.float64
    # ᾱ starts at 1 − 0.00085 and ends, as published, at 0.00466.
    np.testing.assert_allclose(snr[[0, -1]], [1 / 0.00085 - 1, 0.00466 / 0.99534], rtol=1e-4)


@pytest.mark.parametrize(("gamma", "k"), [(1.0, 1.0), (0.5, 1.0), (1.0, 0.25)])
def test_p2_is_one_over_k_plus_snr(gamma, k):
    found = loss_weights(ALPHA, "epsilon", "p2", p2_gamma=gamma, p2_k=k)
    expected = [1 / (k + snr) ** gamma for snr in sd_snr()]
    np.testing.assert_allclose(found, expected, **FLOAT32)
    assert found.dtype == np.float32
    assert found.shape == (1000,)


def test_the_default_is_p2_with_gamma_and_k_of_one():
    # 1 / (1 + ᾱ/(1−ᾱ)) is 1 − ᾱ.
    np.testing.assert_allclose(loss_weights(ALPHA, "epsilon", "p2"), 1 - ALPHA, **FLOAT32)


@pytest.mark.parametrize("gamma", [5.0, 1.0])
def test_min_snr_is_flat_where_there_is_much_noise(gamma):
    found = loss_weights(ALPHA, "epsilon", "min_snr", min_snr_gamma=gamma)
    snr = sd_snr()
    np.testing.assert_allclose(found, [min(s, gamma) / s for s in snr], **FLOAT32)
    assert (found[snr < gamma] == 1).all()
    assert (found[snr > gamma] < 1).all()
    assert 0 < (snr > gamma).sum() < 1000


def test_min_snr_of_v_is_that_of_its_paper():
    """For v-prediction it gives min(SNR, γ) / (SNR + 1)."""
    found = loss_weights(ALPHA, "v_prediction", "min_snr", min_snr_gamma=5.0)
    np.testing.assert_allclose(found, [min(s, 5.0) / (s + 1) for s in sd_snr()], **FLOAT32)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_none_is_one_everywhere(prediction_type):
    found = loss_weights(ALPHA, prediction_type, "none")
    np.testing.assert_array_equal(found, np.ones(1000, np.float32))
    assert found.dtype == np.float32


def test_gamma_zero_is_no_weighting_of_the_epsilon_error():
    found = loss_weights(ALPHA, "epsilon", "p2", p2_gamma=0.0)
    np.testing.assert_array_equal(found, loss_weights(ALPHA, "epsilon", "none"))
    # The v-MSE is made an ε-MSE first, so of v it is the weight ᾱ.
    found = loss_weights(ALPHA, "v_prediction", "p2", p2_gamma=0.0)
    np.testing.assert_allclose(found, ALPHA, **FLOAT32)


@pytest.mark.parametrize("weighting", ["p2", "min_snr"])
def test_networks_of_both_kinds_with_one_error_in_x0_have_one_loss(weighting):
    rng = np.random.default_rng(0)
    timesteps = np.array([0, 1, 50, 400, 700, 999])
    x0, noise, mistake = rng.standard_normal((3, len(timesteps), 4, 8, 8))
    alpha = ALPHA[timesteps][:, None, None, None]
    signal, scale = np.sqrt(alpha), np.sqrt(1 - alpha)
    latents = signal * x0 + scale * noise
    wrong_epsilon = noise + 0.3 * mistake
    wrong_x0 = (latents - scale * wrong_epsilon) / signal
    wrong_v = (signal * latents - wrong_x0) / scale  # the v for which x̂_0 = √ᾱ x_t − √(1−ᾱ) v
    outputs = {
        "epsilon": (wrong_epsilon, noise),
        "v_prediction": (wrong_v, signal * noise - scale * x0),
    }
    losses = {}
    for prediction_type, (output, target) in outputs.items():
        output, target = output.astype(np.float32), target.astype(np.float32)
        weights = loss_weights(ALPHA, prediction_type, weighting)
        objective = Objective(prediction_type, noise_level(ALPHA), weights)
        rows = Noised(jnp.asarray(timesteps), jnp.zeros_like(target), jnp.asarray(target))
        context = jnp.zeros((len(timesteps), 1, 1))
        errors, of_rows = squared_errors(
            lambda *_, output=output: jnp.asarray(output), rows, context, objective
        )
        losses[prediction_type] = np.asarray(errors * of_rows)
    # Outputs of size 1 to 5 in float32 are off by 3e-7, their errors of size 0.3 by 1e-6 of it.
    np.testing.assert_allclose(losses["epsilon"], losses["v_prediction"], rtol=1e-5)
    weights = loss_weights(ALPHA, "epsilon", weighting)[timesteps]
    expected = weights * np.square(0.3 * mistake).mean((1, 2, 3))
    np.testing.assert_allclose(losses["epsilon"], expected, rtol=1e-5)


def test_formulas_take_any_snr():
    snr = np.array([0.25, 4.0])
    np.testing.assert_allclose(p2_weights(snr, gamma=2.0, k=1.0), [0.64, 0.04], rtol=1e-12)
    np.testing.assert_allclose(min_snr_weights(snr, gamma=1.0), [1.0, 0.25], rtol=1e-12)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="weighting must be one of p2, min_snr, none, got 'p3'"):
        loss_weights(ALPHA, "epsilon", "p3")
    for weighting in ("p2", "none"):
        with pytest.raises(ValueError, match="unknown prediction_type 'sample'"):
            loss_weights(ALPHA, "sample", weighting)

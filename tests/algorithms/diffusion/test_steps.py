"""One-step algebra against PyTorch diffusers' schedulers and CycleDiffusion (tests/reference).

Tolerance: both sides compute in float32 from inputs of size 1. x̂_0 divides by √ᾱ, down to 0.07, so
a step can carry 2^-24 · 4 / 0.07 = 3e-6 and an x̂_0 of size 50 about the same relative to its size.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamda_jax.algorithms.diffusion import steps
from dreamda_jax.algorithms.diffusion.schedule import make_schedule, noise_level
from tests.support.paths import REFERENCE

CLOSE = {"rtol": 5e-6, "atol": 5e-6}


def load(name):
    return dict(np.load(REFERENCE / f"{name}.npz"))


def at(t, **options):
    """One step of a schedule: its coefficients as float32 scalars."""
    schedule = make_schedule(**options)
    (i,) = np.flatnonzero(schedule.timesteps == t)
    return jax.tree.map(lambda field: field[i], schedule)


def test_ddim_step_with_eta_equals_diffusers():
    reference = load("steps")
    latents, output, noise = (reference[k] for k in ("sample", "model_output", "noise"))
    names = [name for name in reference if name.startswith("step_")]
    for name in names:
        prediction, to_one, n, t, eta = re.fullmatch(
            r"step_(epsilon|v_prediction)_one(\d)_n(\d+)_t(\d+)_eta([\d.]+)", name
        ).groups()
        now = at(
            int(t),
            num_inference_steps=int(n),
            strength=1.0,
            eta=float(eta),
            set_alpha_to_one=to_one == "1",
        )
        epsilon = steps.to_epsilon(output, latents, now.level, prediction)
        x0 = steps.predict_x0(latents, epsilon, now.level)
        ours = steps.step_mean(x0, epsilon, now) + now.sigma * noise
        assert ours.dtype == jnp.float32
        expected = reference[name.replace("step_", "x0_", 1)]
        # v-prediction's x̂_0 is √ᾱ x − √(1−ᾱ) v; going through ε divides 1−ᾱ-sized terms by √ᾱ.
        np.testing.assert_allclose(x0, expected, rtol=5e-6, atol=3e-5, err_msg=name)
        np.testing.assert_allclose(ours, reference[name], **CLOSE, err_msg=name)
    assert len(names) == 2 * 2 * 2 * 3 * 3  # predictions, ends, N, timesteps, η


def test_ddim_inversion_step_equals_diffusers():
    reference = load("steps")
    latents, output = reference["sample"], reference["model_output"]
    names = [name for name in reference if re.match("inverse_[ev]", name)]
    for name in names:
        prediction, n, t = re.fullmatch(
            r"inverse_(epsilon|v_prediction)_n(\d+)_t(\d+)", name
        ).groups()
        now = at(int(t), num_inference_steps=int(n), strength=1.0, eta=0.0)
        epsilon = steps.to_epsilon(output, latents, now.previous_level, prediction)
        ours = steps.ddim_inversion_step(latents, epsilon, now)
        np.testing.assert_allclose(ours, reference[name], **CLOSE, err_msg=name)
    assert len(names) == 2 * 2 * 3  # predictions, N, timesteps


def test_posterior_sample_and_recovered_noise_equal_cycle_diffusion():
    reference = load("cycle")
    clean, latents = reference["clean"], reference["latents"]
    names = [name for name in reference if name.startswith("posterior_")]
    for name in names:
        n, t, eta = re.fullmatch(r"posterior_n(\d+)_t(\d+)_eta([\d.]+)", name).groups()
        now = at(int(t), num_inference_steps=int(n), strength=0.8, eta=float(eta))
        expected = reference[name]
        if t == "1":
            # The last posterior step returns x_0 itself, in the release and in our inversion loop.
            np.testing.assert_array_equal(expected, clean)
        else:
            mean = steps.posterior_mean(latents, clean, now)
            ours = mean + now.sigma * reference["noise"]
            # The release divides by a 1 − ᾱ taken from a float32 ᾱ: off by 1e-4 of itself at t=11.
            np.testing.assert_allclose(ours, expected, rtol=5e-6, atol=2e-5, err_msg=name)
        epsilon = reference["noise_pred"]
        predicted = steps.predict_x0(latents, epsilon, now.level)
        mean = steps.step_mean(predicted, epsilon, now)
        recovered = steps.recover_noise(expected, mean, now)
        # Dividing by σ_t (0.0099 where smallest, 1 step of η=0.5 at t=1) magnifies the step's
        # rounding, and the release's σ_t comes from a float32 1 − ᾱ/ᾱ_{t⁻}.
        tolerance = {"rtol": 1e-4, "atol": 5e-6 / float(now.sigma)}
        np.testing.assert_allclose(
            recovered, reference[name.replace("posterior", "recovered")], **tolerance, err_msg=name
        )
    assert len(names) == 2 * 4 * 2  # N, timesteps, η


def test_recovered_noise_leads_back():
    reference = load("cycle")
    now = at(41, num_inference_steps=25, strength=0.8, eta=1.0)
    epsilon = reference["noise_pred"]
    x0 = steps.predict_x0(reference["latents"], epsilon, now.level)
    mean = steps.step_mean(x0, epsilon, now)
    z = steps.recover_noise(reference["clean"], mean, now)
    # z is of size |x_0 − μ| / σ; two roundings of it, times σ.
    np.testing.assert_allclose(mean + now.sigma * z, reference["clean"], atol=1e-6)


def test_v_prediction_of_a_known_pair():
    x0, epsilon = np.random.default_rng(0).standard_normal((2, 1, 4, 8, 8), np.float32)
    for alpha in [0.0047, 0.5, 0.99915]:
        level = noise_level(np.float64(alpha))
        latents = steps.add_noise(x0, epsilon, level)
        v = (
            np.float32(alpha**0.5) * epsilon - np.float32((1 - alpha) ** 0.5) * x0
        )  # Salimans & Ho 2022, App. D
        recovered = steps.to_epsilon(v, latents, level, "v_prediction")
        np.testing.assert_allclose(recovered, epsilon, atol=1e-6)
        # x̂_0 divides the rounding of x_t by √ᾱ, 0.07 where smallest.
        ours = steps.predict_x0(latents, recovered, level)
        np.testing.assert_allclose(ours, x0, atol=1e-6 / np.sqrt(alpha))


def test_deterministic_inversion_step_undoes_a_ddim_step():
    latents, epsilon = np.random.default_rng(1).standard_normal((2, 1, 4, 8, 8), np.float32)
    now = at(481, num_inference_steps=25, strength=1.0, eta=0.0)
    x0 = steps.predict_x0(latents, epsilon, now.level)
    following = steps.step_mean(x0, epsilon, now)
    back = steps.ddim_inversion_step(following, epsilon, now)
    np.testing.assert_allclose(back, latents, atol=2e-6)  # four float32 roundings of size 1


def test_guidance():
    u, c = np.float32([1.0, 2.0]), np.float32([3.0, -1.0])
    np.testing.assert_array_equal(steps.guide(u, c, 1.0), c)
    np.testing.assert_array_equal(steps.guide(u, c, 0.0), u)
    np.testing.assert_array_equal(steps.guide(u, c, 7.5), [16.0, -20.5])


def test_x0_is_never_clipped():
    level = noise_level(np.float64(0.25))
    far = steps.predict_x0(jnp.full((1, 4, 2, 2), 50.0), jnp.zeros((1, 4, 2, 2)), level)
    np.testing.assert_array_equal(far, 100.0)


def test_dtype_stays_float32_under_strict_promotion():
    x = jnp.ones((1, 4, 2, 2), jnp.float32)
    now = jax.tree.map(jnp.asarray, at(481, num_inference_steps=25, strength=1.0, eta=1.0))
    with jax.numpy_dtype_promotion("strict"):
        results = [
            steps.to_epsilon(x, x, now.level, "v_prediction"),
            steps.predict_x0(x, x, now.level),
            steps.step_mean(x, x, now),
            steps.add_noise(x, x, now.level),
            steps.posterior_mean(x, x, now),
            steps.recover_noise(x, x, now),
            steps.ddim_inversion_step(x, x, now),
        ]
    assert {result.dtype for result in results} == {jnp.dtype("float32")}


def test_unknown_prediction_type():
    with pytest.raises(ValueError, match="unknown prediction_type 'sample'"):
        steps.to_epsilon(jnp.ones(1), jnp.ones(1), noise_level(np.float64(0.5)), "sample")

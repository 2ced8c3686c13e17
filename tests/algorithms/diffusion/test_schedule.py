"""Schedules, timesteps and σ_t against PyTorch diffusers' DDIMScheduler (tests/reference)."""

import re

import jax
import numpy as np
import pytest

from dreamda_jax.algorithms.diffusion.schedule import (
    alphas_cumprod,
    make_schedule,
    spaced_timesteps,
)
from tests.support.paths import REFERENCE

BETAS = {"beta_start": 0.00085, "beta_end": 0.012}


@pytest.fixture(scope="module")
def timesteps():
    return dict(np.load(REFERENCE / "timesteps.npz"))


@pytest.mark.parametrize("beta_schedule", ["scaled_linear", "linear", "squaredcos_cap_v2"])
def test_alphas_equal_diffusers(timesteps, beta_schedule):
    ours = alphas_cumprod(1000, beta_schedule=beta_schedule, **BETAS)
    assert ours.dtype == np.float64
    # diffusers multiplies a thousand factors in float32: 1000 · 2^-24 = 6e-5 at the very worst,
    # and the last ᾱ of the cosine schedule is 2e-9, hence the absolute part.
    theirs = timesteps[f"alphas_cumprod_{beta_schedule}"]
    np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=1e-9)
    assert (np.diff(ours) < 0).all()


def test_timesteps_equal_diffusers(timesteps):
    names = [name for name in timesteps if name.startswith("timesteps_")]
    for name in names:
        spacing, offset, n = re.fullmatch(r"timesteps_(\w+)_offset(\d)_n(\d+)", name).groups()
        ours = spaced_timesteps(int(n), 1000, spacing, int(offset))
        np.testing.assert_array_equal(ours, timesteps[name], err_msg=name)
    assert len(names) == 3 * 2 * 8  # spacings, offsets, step counts


def test_strength_keeps_the_steps_that_img2img_keeps(timesteps):
    names = [name for name in timesteps if name.startswith("img2img_")]
    for name in names:
        spacing, offset, n, strength = re.fullmatch(
            r"img2img_(\w+)_offset(\d)_n(\d+)_s([\d.]+)", name
        ).groups()
        schedule = make_schedule(
            num_inference_steps=int(n),
            strength=float(strength),
            eta=1.0,
            timestep_spacing=spacing,
            steps_offset=int(offset),
        )
        np.testing.assert_array_equal(schedule.timesteps, timesteps[name], err_msg=name)
        np.testing.assert_array_equal(schedule.previous[:-1], schedule.timesteps[1:], err_msg=name)
    assert len(names) == 3 * 2 * 8 * 4  # spacings, offsets, step counts, strengths


def test_fields_are_float32_and_int32_whatever_the_network_is():
    schedule = make_schedule(num_inference_steps=25, strength=0.8, eta=1.0)
    leaves = jax.tree.leaves(schedule)
    assert [field.dtype for field in leaves] == [np.int32] * 2 + [np.float32] * 14
    assert {field.shape for field in leaves} == {(20,)}


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("to_one", [False, True])
@pytest.mark.parametrize("n", [25, 100])
def test_sigma_equals_the_variance_formula_of_diffusers(timesteps, eta, to_one, n):
    # DDIMScheduler._get_variance, on diffusers' own ᾱ.
    bar = timesteps["alphas_cumprod_scaled_linear"].astype(np.float64)
    schedule = make_schedule(num_inference_steps=n, strength=1.0, eta=eta, set_alpha_to_one=to_one)
    for t, alpha, alpha_previous, sigma in zip(
        schedule.timesteps,
        schedule.level.alpha,
        schedule.previous_level.alpha,
        schedule.sigma,
        strict=True,
    ):
        before = t - 1000 // n
        a, b = bar[t], bar[before] if before >= 0 else (1.0 if to_one else bar[0])
        np.testing.assert_allclose([alpha, alpha_previous], [a, b], rtol=2e-5)
        variance = (1 - b) / (1 - a) * (1 - a / b)
        # 1-a/b of the last step loses four digits of the float32 ᾱ; σ enters a step times noise
        # of unit variance, so what counts is the absolute error.
        np.testing.assert_allclose(sigma, eta * np.sqrt(variance), atol=2e-5)


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_sigma_is_what_diffusers_really_added(eta):
    """Solves x_{t⁻} − √ᾱ_{t⁻} x̂_0 = A ε + σ z for σ, on 512 numbers that diffusers computed."""
    steps = np.load(REFERENCE / "steps.npz")
    schedule = make_schedule(num_inference_steps=25, strength=1.0, eta=eta)
    for t in (961, 481, 1):
        (i,) = np.flatnonzero(schedule.timesteps == t)
        name = f"epsilon_one0_n25_t{t}_eta{eta:g}"
        alpha = np.float64(schedule.level.alpha[i])
        x0 = (steps["sample"] - np.sqrt(1 - alpha) * steps["model_output"]) / np.sqrt(alpha)
        rest = steps[f"step_{name}"] - np.sqrt(np.float64(schedule.previous_level.alpha[i])) * x0
        known = np.stack([steps["model_output"].ravel(), steps["noise"].ravel()], axis=1)
        (_, sigma), residual, *_ = np.linalg.lstsq(known, rest.ravel(), rcond=None)
        assert abs(sigma - schedule.sigma[i]) < 2e-6  # float32 steps, averaged over 512 numbers
        assert residual[0] < 1e-7


def test_eta_scales_sigma_and_zero_is_deterministic():
    sigma = {
        eta: make_schedule(num_inference_steps=25, strength=0.8, eta=eta).sigma
        for eta in (0.0, 0.5, 1.0)
    }
    assert (sigma[0.0] == 0).all()
    assert (sigma[1.0] > 0).all()
    np.testing.assert_array_equal(sigma[0.5], sigma[1.0] / 2)  # halving is exact in float32


def test_last_step_ends_at_alpha_zero_or_at_one():
    to_alpha = make_schedule(num_inference_steps=25, strength=0.8, eta=1.0)
    to_one = make_schedule(num_inference_steps=25, strength=0.8, eta=1.0, set_alpha_to_one=True)
    assert to_alpha.timesteps[-1] == 1
    assert to_alpha.previous[-1] == 0
    assert to_alpha.previous_level.alpha[-1] == np.float32(1 - 0.00085)
    assert to_one.previous_level.alpha[-1] == 1
    assert to_one.sigma[-1] == 0  # which CycleDiffusion cannot divide by


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_inference_steps": 1000}, "would start at timestep 1000, past the schedule's 999"),
        ({"num_inference_steps": 1001}, r"num_inference_steps must be in \[1, 1000\], got 1001"),
        ({"num_inference_steps": 0}, r"num_inference_steps must be in \[1, 1000\], got 0"),
        ({"strength": 0}, r"strength must be in \(0, 1\], got 0"),
        ({"strength": 1.1}, r"strength must be in \(0, 1\], got 1.1"),
        ({"strength": float("nan")}, "strength must be in"),
        ({"strength": 0.03}, r"strength=0.03 of 25 steps leaves no step.* at least 0.04"),
        ({"eta": -0.1}, r"eta must be in \[0, 1\], got -0.1"),
        ({"eta": 1.5}, r"eta must be in \[0, 1\], got 1.5"),
        ({"beta_schedule": "cosine"}, "unknown beta_schedule 'cosine'"),
        ({"timestep_spacing": "middle"}, "unknown timestep_spacing 'middle'"),
    ],
)
def test_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make_schedule(**{"num_inference_steps": 25, "strength": 0.8, "eta": 1.0, **options})


def test_a_thousand_steps_without_offset():
    schedule = make_schedule(num_inference_steps=1000, strength=1.0, eta=1.0, steps_offset=0)
    np.testing.assert_array_equal(schedule.timesteps, np.arange(1000)[::-1])


def test_coefficients_are_taken_in_float64_and_stay_finite_at_the_ends():
    schedule = make_schedule(num_inference_steps=25, strength=1.0, eta=1.0, set_alpha_to_one=True)
    bar = alphas_cumprod(1000, 0.00085, 0.012, "scaled_linear")[schedule.timesteps]
    level = schedule.level
    for field, exact in [
        (level.sqrt_alpha, np.sqrt(bar)),
        (level.sqrt_one_minus_alpha, np.sqrt(1 - bar)),
        (level.inv_sqrt_alpha, 1 / np.sqrt(bar)),
        (level.inv_sqrt_one_minus_alpha, 1 / np.sqrt(1 - bar)),
    ]:
        np.testing.assert_array_equal(field, exact.astype(np.float32))
    # ᾱ = 1 and σ = 0 after the last step: the reciprocals that nothing uses are 0, not infinite.
    assert schedule.previous_level.inv_sqrt_one_minus_alpha[-1] == 0
    assert schedule.inv_sigma[-1] == 0
    leaves = [*schedule.level, *schedule.previous_level, schedule.direction, schedule.inv_sigma]
    assert all(np.isfinite(leaf).all() and leaf.dtype == np.float32 for leaf in leaves)

"""DPM-Solver++(2M) and its SDE against PyTorch diffusers' scheduler, and by its order."""

import jax.numpy as jnp
import numpy as np
import pytest

from dreamda_jax.algorithms.diffusion import inversion, sample
from dreamda_jax.algorithms.diffusion import keys as keys_lib
from dreamda_jax.algorithms.diffusion.schedule import make_schedule
from tests.support.paths import REFERENCE

ARRAYS = np.load(REFERENCE / "multistep.npz")
ROOT = np.array([0, 3], np.uint32)


def run(predict, start, schedule, noise):
    return sample.perturbed_reverse(
        predict,
        jnp.asarray(start),
        schedule,
        noise=noise,
        step_noise=lambda z, _: jnp.float32(0) if z is None else z,
        keep_trajectory=True,
    )


def noises(epsilon):
    return sample.Noises(epsilon, None, jnp.float32(0))


@pytest.mark.parametrize("count", [10, 25])
@pytest.mark.parametrize(("name", "eta"), [("ode", 0.0), ("sde", 1.0)])
def test_steps_are_those_of_diffusers(name, eta, count):
    arrays = {key: ARRAYS[f"{name}_{count}_{key}"] for key in ("start", "outputs", "noise")}
    schedule = make_schedule(num_inference_steps=count, strength=0.8, eta=eta, solver="dpm++2m")
    places = {int(t): i for i, t in enumerate(schedule.timesteps)}

    def predict(latents, t, level):
        place = sum(jnp.where(t == each, i, 0) for each, i in places.items())
        return noises(jnp.asarray(arrays["outputs"])[place])

    found = run(predict, arrays["start"], schedule, arrays["noise"] if eta else None).trajectory
    # diffusers keeps λ in float32, where differences of neighbours lose digits: 3e-6 measured.
    np.testing.assert_allclose(found, ARRAYS[f"{name}_{count}_trajectory"], rtol=1e-4, atol=1e-4)


def error_of(solver, count):
    """Of the probability flow of N(m, s²) data in one dimension, whose exact solution is known."""
    mean, variance = 0.7, 1.5**2
    schedule = make_schedule(num_inference_steps=count, strength=1.0, eta=0.0, solver=solver)

    def predict(latents, t, level):
        marginal = level.alpha * variance + 1 - level.alpha
        return noises((latents - level.sqrt_alpha * mean) * level.sqrt_one_minus_alpha / marginal)

    start = np.full((1, 4, 1, 1), 1.3, np.float32)
    end, first = schedule.previous_level.alpha[-1], schedule.level.alpha[0]
    deviation = lambda a: np.sqrt(a * variance + 1 - a)  # noqa: E731
    scaled = (start - np.sqrt(first) * mean) / deviation(first)
    exact = np.sqrt(end) * mean + scaled * deviation(end)
    return np.abs(run(predict, start, schedule, None).latents - exact).max()


def test_the_second_order_needs_fewer_steps():
    first, second = ([error_of(solver, n) for n in (20, 40, 80)] for solver in ("ddim", "dpm++2m"))
    assert all(s < f / 2 for s, f in zip(second, first, strict=True))
    # Steps are even in t, so those near the data are wide in λ, and the order shows late.
    assert np.log2(second[1] / second[2]) > 1.6
    assert np.log2(first[1] / first[2]) < 1.15


def test_recorded_noise_leads_back_to_the_image():
    """CycleDiffusion with the solver's SDE: the same network, the recorded noise, the same x_0."""
    schedule = make_schedule(num_inference_steps=10, strength=0.8, eta=1.0, solver="dpm++2m")
    keys = keys_lib.seed_keys(ROOT, np.arange(2))
    x0 = np.random.default_rng(0).normal(size=(2, 4, 3, 3)).astype(np.float32)

    def epsilon(latents, t, level):
        return jnp.tanh(latents + jnp.cos(t / 300.0))

    start = inversion.draw_start(x0, keys, schedule)
    recorded = inversion.cycle_diffusion_inversion(epsilon, x0, start, keys, schedule)
    back = run(lambda *args: noises(epsilon(*args)), start, schedule, recorded).latents
    np.testing.assert_allclose(back, x0, atol=2e-5)
    first_order = make_schedule(num_inference_steps=10, strength=0.8, eta=1.0)
    other = run(lambda *args: noises(epsilon(*args)), start, first_order, recorded).latents
    assert np.abs(other - x0).max() > 1e-2  # the noise belongs to the solver


def test_what_is_refused():
    with pytest.raises(ValueError, match="eta of 0 or 1"):
        make_schedule(num_inference_steps=10, strength=1, eta=0.5, solver="dpm++2m")
    with pytest.raises(ValueError, match="unknown solver"):
        make_schedule(num_inference_steps=10, strength=1, eta=0, solver="euler")


def test_a_last_step_without_noise_is_of_the_first_order():
    schedule = make_schedule(
        num_inference_steps=10,
        strength=1,
        eta=0,
        solver="dpm++2m",
        set_alpha_to_one=True,
        timestep_spacing="trailing",
    )
    assert np.isfinite(schedule.correction).all()
    assert schedule.correction[0] == 0
    assert (schedule.correction[1:-1] > 0).all()

"""CycleDiffusion returns exactly, DDIM at first order; both as diffusers' own chains do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamda_jax.algorithms.diffusion import inversion, sample, steps
from dreamda_jax.algorithms.diffusion import keys as keys_lib
from dreamda_jax.algorithms.diffusion.schedule import alphas_cumprod, make_schedule
from tests.support.paths import REFERENCE

ROOT = jax.random.key_data(jax.random.key(3))
FAST = {"xla_backend_optimization_level": 0}  # compiles threefry in a second instead of ten


_normal = jax.jit(keys_lib.normal, static_argnums=(2, 3), compiler_options=FAST)


def compiled_normal(*args):
    """The same draws where jit is disabled: op by op, each would be compiled at full length."""
    with jax.disable_jit(False):
        return _normal(*args)


@pytest.fixture(scope="module")
def chain():
    return dict(np.load(REFERENCE / "model_tiny.npz"))


def reverse(predict, start, schedule, noise, **options):
    """The reverse without perturbation: noise_scale 0, the prompt that `predict` holds."""
    return sample.perturbed_reverse(
        lambda latents, t, level: sample.Noises(predict(latents, t, level), None, jnp.float32(0)),
        start,
        schedule,
        noise=noise,
        step_noise=lambda z, _: 0.0 if z is None else z,
        **options,
    )


def round_trip(predict, x0, schedule, keys):
    start = inversion.draw_start(x0, keys, schedule)
    noise = inversion.cycle_diffusion_inversion(predict, x0, start, keys, schedule)
    return start, noise, reverse(predict, start, schedule, noise).latents


def test_cycle_diffusion_round_trip_on_the_tiny_model(network, chain, monkeypatch):
    monkeypatch.setattr(keys_lib, "normal", compiled_normal)
    x0, context = chain["encoded"], chain["text_hidden"][:2]
    schedule = make_schedule(num_inference_steps=20, strength=0.8, eta=1.0)
    with jax.disable_jit():
        start, noise, back = round_trip(
            lambda latents, t, level: network(latents, t, context),
            x0,
            schedule,
            keys_lib.seed_keys(ROOT, np.arange(2)),
        )
    assert noise.shape == (16, 2, 4, 8, 8)
    assert np.abs(start - x0).max() > 1  # it did go somewhere
    error = np.abs(back - x0).max()
    print(f"round trip, tiny model, 16 steps: max {error:.2g}")
    # The last step's z takes x_0 back to itself whatever went before; only its rounding remains.
    assert error < 1e-5


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_cycle_diffusion_round_trip_of_any_network(prediction_type, eta):
    def predict(latents, t, level):
        output = jnp.sin(2 * latents) + 0.3 * jnp.cos(t / 100) * jnp.roll(latents, 1, axis=-1)
        return steps.to_epsilon(output, latents, level, prediction_type)

    x0 = np.random.default_rng(0).standard_normal((2, 4, 3, 3), np.float32)
    schedule = make_schedule(num_inference_steps=10, strength=1.0, eta=eta)
    keys = keys_lib.seed_keys(ROOT, np.arange(2))
    start, _, back = jax.jit(
        lambda x0, keys: round_trip(predict, x0, schedule, keys), compiler_options=FAST
    )(x0, keys)
    error = np.abs(back - x0).max()
    print(f"round trip, {prediction_type}, eta {eta}: max {error:.2g}")
    # Every step's rounding (1e-7 of numbers up to 20) is corrected by none of the later ones but
    # shrinks with them; this network is rougher than a trained one.
    assert error < 1e-4
    assert np.abs(start - x0).max() > 1


def test_cycle_diffusion_visits_the_forward_process():
    """The states the recorded noise leads through are draws of q(x_t | x_0), for every t."""
    x0 = np.broadcast_to(np.linspace(-2, 2, 4, dtype=np.float32)[:, None, None], (64, 4, 8, 8))
    schedule = make_schedule(num_inference_steps=5, strength=0.8, eta=1.0)

    def predict(latents, t, level):
        return 0.5 * latents

    def states(x0, keys):
        start = inversion.draw_start(x0, keys, schedule)
        noise = inversion.cycle_diffusion_inversion(predict, x0, start, keys, schedule)
        after = reverse(predict, start, schedule, noise, keep_trajectory=True).trajectory
        return jnp.concatenate([start[None], after])

    keys = keys_lib.seed_keys(ROOT, np.arange(64))
    visited = np.asarray(jax.jit(states, compiler_options=FAST)(x0, keys), np.float64)
    n = x0.size
    for alpha, latents in zip(schedule.level.alpha, visited, strict=False):
        alpha = np.float64(alpha)
        noise = (latents - np.sqrt(alpha) * x0) / np.sqrt(1 - alpha)
        assert abs(noise.mean()) < 5 / np.sqrt(n)
        assert abs(noise.var() - 1) < 5 * np.sqrt(2 / n)
    np.testing.assert_allclose(visited[-1], x0, atol=1e-5)  # rounding of the round trip
    # Consecutive states are those of one path: at t < t' the noises correlate, as q says they do.
    a, b = schedule.level.alpha[:2].astype(np.float64)
    first, second = (
        (x - np.sqrt(alpha) * x0) / np.sqrt(1 - alpha)
        for x, alpha in zip(visited, (a, b), strict=False)
    )
    expected = np.sqrt(a / b) * np.sqrt((1 - b) / (1 - a))
    assert abs((first * second).mean() - expected) < 5 / np.sqrt(n)


def test_start_is_a_draw_of_the_forward_process():
    x0 = np.full((64, 4, 8, 8), 1.5, np.float32)
    schedule = make_schedule(num_inference_steps=25, strength=0.8, eta=1.0)
    keys = keys_lib.seed_keys(ROOT, np.arange(64))
    start = jax.jit(
        lambda x0, keys: inversion.draw_start(x0, keys, schedule), compiler_options=FAST
    )(x0, keys)
    alpha = alphas_cumprod(1000, 0.00085, 0.012, "scaled_linear")[761]
    n = start.size
    assert abs(np.mean(start) - np.sqrt(alpha) * 1.5) < 5 * np.sqrt((1 - alpha) / n)
    assert abs(np.var(start) / (1 - alpha) - 1) < 5 * np.sqrt(2 / n)


def gaussian_epsilon(latents, alpha, *, mean=0.5, std=0.6):
    """The exact ε of data ~ N(mean, std²): what a perfect network would say."""
    return jnp.sqrt(1 - alpha) * (latents - jnp.sqrt(alpha) * mean) / (alpha * std**2 + 1 - alpha)


def exact_flow(x, alpha_from, alpha_to, *, mean=0.5, std=0.6):
    """The probability-flow ODE of that data, solved in closed form."""
    spread_from, spread_to = (np.sqrt(a * std**2 + 1 - a) for a in (alpha_from, alpha_to))
    return np.sqrt(alpha_to) * mean + spread_to / spread_from * (x - np.sqrt(alpha_from) * mean)


def test_ddim_inversion_is_of_first_order():
    """Error against the exact ODE, and of the round trip, halve when N doubles."""
    x0 = np.linspace(-1.5, 2.5, 16, dtype=np.float32).reshape(1, 4, 2, 2)
    ode_errors, trip_errors = [], []
    for n in (25, 50, 100, 200):
        schedule = make_schedule(num_inference_steps=n, strength=0.8, eta=0.0)

        def predict(latents, t, level):
            return gaussian_epsilon(latents, level.alpha)

        start = inversion.ddim_inversion(predict, x0, schedule)
        back = reverse(predict, start, schedule, None).latents
        alphas = (
            schedule.previous_level.alpha[-1].astype(float),
            schedule.level.alpha[0].astype(float),
        )
        ode_errors.append(np.abs(start - exact_flow(x0, *alphas)).max())
        trip_errors.append(np.abs(back - x0).max())
    for name, errors in (("ODE", ode_errors), ("round trip", trip_errors)):
        ratios = np.array(errors[:-1]) / errors[1:]
        print(f"DDIM inversion, {name}: errors {np.array(errors)}, ratios {ratios}")
        # 2 up to the next order in 1/N, which itself shrinks: within 20 %, then within 10 %.
        np.testing.assert_allclose(ratios[0], 2, rtol=0.2)
        np.testing.assert_allclose(ratios[1:], 2, rtol=0.1)


def test_ddim_inversion_on_the_tiny_model_comes_back_closer_with_more_steps(network, chain):
    x0, context = chain["encoded"], chain["text_hidden"][:2]
    errors = []
    for n in (8, 16, 32):
        schedule = make_schedule(num_inference_steps=n, strength=0.8, eta=0.0)

        def predict(latents, t, level):
            return network(latents, t, context)

        with jax.disable_jit():
            start = inversion.ddim_inversion(predict, x0, schedule)
            back = reverse(predict, start, schedule, None).latents
        errors.append(float(np.sqrt(np.mean((back - x0) ** 2))))
    ratios = np.array(errors[:-1]) / errors[1:]
    print(f"DDIM inversion, tiny model, N=8, 16, 32: RMS {errors}, ratios {ratios}")
    # A trained network is not smooth at this step size; the order shows, not the exact 2.
    assert (ratios > 1.5).all()


def test_ddim_inversion_follows_diffusers_on_the_tiny_model(network, chain):
    """The same chain as DDIMInverseScheduler's, which asks the network at t where Eq. 5 has t⁻."""
    context = chain["text_hidden"][:2]
    schedule = make_schedule(num_inference_steps=10, strength=1.0, eta=0.0)
    above = dict(zip(schedule.previous.tolist(), schedule.timesteps.tolist(), strict=True))
    assert sorted(above.values()) == chain["chain_inverse_timesteps"].tolist()
    asked = []

    def predict(latents, previous, level):
        asked.append(int(previous))
        return network(latents, above[int(previous)], context)

    with jax.disable_jit():
        start = inversion.ddim_inversion(predict, chain["encoded"], schedule)
    assert asked == [0, *range(1, 900, 100)]  # Eq. 5: where the latents are now
    error = np.abs(start - chain["chain_inverted"][-1]).max()
    print(f"DDIM inversion against diffusers, 10 steps: max {error:.2g}")
    # The networks differ by 4e-6 a call; 10 calls, each of which asks where the last one led.
    assert error < 5e-5


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_reverse_follows_diffusers_on_the_tiny_model(network, chain, eta):
    context = chain["text_hidden"][:2]
    schedule = make_schedule(num_inference_steps=10, strength=1.0, eta=eta)
    np.testing.assert_array_equal(schedule.timesteps, chain["chain_timesteps"])
    with jax.disable_jit():
        result = reverse(
            lambda latents, t, level: network(latents, t, context),
            chain["chain_noises"][0],
            schedule,
            chain["chain_noises"],
            keep_trajectory=True,
        )
    expected = chain[f"chain_reversed_eta{eta:g}"][1:]
    error = np.abs(result.trajectory - expected).max(axis=(1, 2, 3, 4))
    print(f"reverse against diffusers, eta {eta}: max per step {error}")
    # The networks differ by 4e-6 a call; 10 calls, whose errors shrink on the way to x_0.
    assert error.max() < 2e-5

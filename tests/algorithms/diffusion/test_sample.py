"""The perturbed reverse loop against a plain numpy loop in float64, written out independently."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamda_jax.algorithms.diffusion import sample
from dreamda_jax.algorithms.diffusion.schedule import make_schedule

SCHEDULE = make_schedule(num_inference_steps=10, strength=0.6, eta=0.7)
STEPS, ROWS = len(SCHEDULE.timesteps), 2
GENERATOR = np.random.default_rng(0)
START = GENERATOR.standard_normal((ROWS, 4, 3, 3))
Z = GENERATOR.standard_normal((STEPS, ROWS, 4, 3, 3))
PERTURBATION = GENERATOR.standard_normal((STEPS, ROWS, 4, 3, 3))


def clean_epsilon(latents, t, xp=np):
    return 0.8 * xp.tanh(latents) + 0.1 * xp.cos(t / 100)


def noisy_epsilon(latents, t, xp=np):
    """A perturbed ε that depends on the step, as a fresh ε_h does."""
    return clean_epsilon(latents, t, xp) + 0.5 * xp.sin(3 * latents + t / 50)


def numpy_reverse(update):
    """The update rules as the design page prints them (§4)."""
    bar = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)
    states = [START]
    for i, t in enumerate((501, 401, 301, 201, 101, 1)):
        a, a_previous = bar[t], bar[t - 100] if t > 100 else bar[0]
        sigma = 0.7 * np.sqrt((1 - a_previous) / (1 - a) * (1 - a / a_previous))
        x = states[-1]
        noisy, clean = noisy_epsilon(x, t), clean_epsilon(x, t)
        x0 = (x - np.sqrt(1 - a) * noisy) / np.sqrt(a)
        direction = noisy if update == "official" else clean
        states.append(
            np.sqrt(a_previous) * x0 + np.sqrt(1 - a_previous - sigma**2) * direction + sigma * Z[i]
        )
    return np.stack(states[1:])


def run(update, **options):
    def predict(latents, t, level):
        clean = clean_epsilon(latents, t, jnp) if update == "asymmetric" else None
        return sample.Noises(noisy_epsilon(latents, t, jnp), clean, jnp.mean(latents**2))

    return jax.jit(
        lambda start, z: sample.perturbed_reverse(
            predict, start, SCHEDULE, noise=z, step_noise=lambda z, _: z, **options
        )
    )(jnp.float32(START), jnp.float32(Z))


@pytest.mark.parametrize("update", ["official", "asymmetric"])
def test_update_rule_equals_the_printed_one(update):
    result = run(update, keep_trajectory=True)
    expected = numpy_reverse(update)
    # Six float32 steps on numbers up to 5.
    np.testing.assert_allclose(result.trajectory, expected, rtol=1e-5, atol=2e-5)
    np.testing.assert_array_equal(result.latents, result.trajectory[-1])
    before = np.concatenate([START[None], expected[:-1]])
    np.testing.assert_allclose(result.mean_squares, (before**2).mean((1, 2, 3, 4)), rtol=1e-4)


def test_the_two_rules_differ():
    assert np.abs(numpy_reverse("official") - numpy_reverse("asymmetric")).max() > 0.1


def test_no_trajectory_unless_asked():
    result = run("official")
    assert result.trajectory is None
    np.testing.assert_allclose(result.latents, numpy_reverse("official")[-1], rtol=1e-5, atol=2e-5)


def test_latents_are_perturbed_before_each_step_with_that_step_s_noise():
    by_timestep = dict(zip(SCHEDULE.timesteps.tolist(), PERTURBATION, strict=True))
    table = np.zeros((1000, *START.shape), np.float32)
    for t, noise in by_timestep.items():
        table[t] = noise
    seen = []

    def predict(latents, t, level):
        jax.debug.callback(lambda x, t: seen.append((int(t), np.asarray(x))), latents, t)
        return sample.Noises(jnp.zeros_like(latents), None, jnp.float32(0))

    result = sample.perturbed_reverse(
        predict,
        jnp.float32(START),
        SCHEDULE,
        noise=None,
        step_noise=lambda _, t: jnp.zeros(START.shape),
        perturb_latents=lambda x, t: x + 0.5 * jnp.asarray(table)[t],
        keep_trajectory=True,
    )
    jax.effects_barrier()
    before = np.concatenate([START[None], result.trajectory[:-1]])
    for t, latents in seen:
        i = SCHEDULE.timesteps.tolist().index(t)
        np.testing.assert_allclose(latents, before[i] + 0.5 * by_timestep[t], atol=1e-5)
    assert sorted(t for t, _ in seen) == sorted(by_timestep)


def test_step_noise_is_not_used_where_sigma_is_zero():
    deterministic = make_schedule(num_inference_steps=10, strength=0.6, eta=0.0)
    results = [
        sample.perturbed_reverse(
            lambda latents, t, level: sample.Noises(0.5 * latents, None, jnp.float32(0)),
            jnp.float32(START),
            deterministic,
            noise=jnp.float32(noise),
            step_noise=lambda z, _: z,
        ).latents
        for noise in (Z, -Z)
    ]
    np.testing.assert_array_equal(*results)

"""Learning rates, AdamW and the average of fine-tuning, against their formulas in float64."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamda_jax.finetune.programs import ema_decay_schedule, learning_rate_schedule, make_optimizer
from dreamda_jax.options.finetune import Finetune

PEAK = 2e-3
RATE = {"rtol": 1e-6, "atol": 1e-6 * PEAK}  # float32


def rates(num_steps, **options):
    schedule = learning_rate_schedule(Finetune(learning_rate=PEAK, num_steps=num_steps, **options))
    return [float(schedule(jnp.int32(step))) for step in range(num_steps + 1)]


def test_constant_after_linear_warm_up_from_zero():
    found = rates(10, schedule="constant", warmup_steps=4)
    expected = [0, PEAK / 4, PEAK / 2, 3 * PEAK / 4, *[PEAK] * 7]
    np.testing.assert_allclose(found, expected, **RATE)


@pytest.mark.parametrize("warmup", [0, 4])
def test_cosine_ends_at_zero(warmup):
    found = rates(12, schedule="cosine", warmup_steps=warmup)
    expected = [
        PEAK * step / warmup
        if step < warmup
        else PEAK * (1 + math.cos(math.pi * (step - warmup) / (12 - warmup))) / 2
        for step in range(13)
    ]
    np.testing.assert_allclose(found, expected, **RATE)
    assert found[12] == 0


def test_without_warm_up_the_first_step_has_the_peak():
    np.testing.assert_allclose(rates(5, warmup_steps=0), [PEAK] * 6, **RATE)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_a_training_shorter_than_its_warm_up_is_all_warm_up(schedule):
    found = rates(5, schedule=schedule, warmup_steps=50)
    np.testing.assert_allclose(found, [PEAK * step / 50 for step in range(6)], **RATE)


@pytest.mark.parametrize(
    ("method", "rate"), [("full", 1e-5), ("lora", 1e-4), ("textual_inversion", 5e-4)]
)
def test_each_method_has_its_own_peak(method, rate):
    schedule = learning_rate_schedule(Finetune(method=method, warmup_steps=0))
    np.testing.assert_allclose(schedule(jnp.int32(3)), rate, rtol=1e-6)


def diffusers_decay(optimization_step, decay):
    """`EMAModel.get_decay` with its defaults: update_after_step 0, min_decay 0, no warm-up."""
    step = max(0, optimization_step - 0 - 1)
    if step <= 0:
        return 0.0
    return max(min((1 + step) / (10 + step), decay), 0.0)


@pytest.mark.parametrize("decay", [0.9999, 0.9, 0.0])
def test_the_average_s_decay_is_that_of_diffusers(decay):
    at = jax.jit(ema_decay_schedule(decay))
    done = [0, 1, 2, 10, 79, 80, 81, 5000, 100_000]
    found = [float(at(jnp.int32(step))) for step in done]
    # `EMAModel.step` counts the step before it asks.
    expected = [diffusers_decay(step + 1, decay) for step in done]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found[0] == 0
    assert max(found) <= np.float32(decay)


GRADIENT_SCALES = (0.1, 3.0, 0.01, 5.0, 0.5)


def by_hand(params, gradients, rate, *, clip_norm, beta1, beta2, weight_decay):
    """Float64: parameters after every step of clipping and AdamW (Loshchilov & Hutter, Alg. 2)."""
    params = {name: value.astype(np.float64) for name, value in params.items()}
    mean = {name: np.zeros_like(value) for name, value in params.items()}
    square = {name: np.zeros_like(value) for name, value in params.items()}
    for step, gradient in enumerate(gradients):
        norm = np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in gradient.values()))
        scale = min(1.0, clip_norm / norm) if clip_norm else 1.0
        for name, g in gradient.items():
            g = scale * g.astype(np.float64)
            mean[name] = beta1 * mean[name] + (1 - beta1) * g
            square[name] = beta2 * square[name] + (1 - beta2) * g**2
            first = mean[name] / (1 - beta1 ** (step + 1))
            second = square[name] / (1 - beta2 ** (step + 1))
            update = first / (np.sqrt(second) + 1e-8) + weight_decay * params[name]
            params[name] = params[name] - rate(step) * update
        yield params.copy()


@pytest.mark.parametrize("clip_norm", [1.0, 0.0])
@pytest.mark.parametrize("warmup", [0, 2])
def test_steps_are_clipped_adamw(clip_norm, warmup):
    rng = np.random.default_rng(0)
    params = {
        "kernel": rng.standard_normal((3, 4), np.float32),
        "bias": rng.standard_normal(4, np.float32),
    }
    gradients = [
        {name: scale * rng.standard_normal(p.shape, np.float32) for name, p in params.items()}
        for scale in GRADIENT_SCALES
    ]
    job = Finetune(
        learning_rate=0.01,
        warmup_steps=warmup,
        beta1=0.8,
        beta2=0.95,
        weight_decay=0.1,
        clip_norm=clip_norm,
    )
    optimizer = make_optimizer(job, learning_rate_schedule(job))
    expected = by_hand(
        params,
        gradients,
        lambda step: 0.01 * min(1.0, step / warmup if warmup else 1.0),
        clip_norm=clip_norm,
        beta1=0.8,
        beta2=0.95,
        weight_decay=0.1,
    )
    found = jax.tree.map(jnp.asarray, params)
    state = optimizer.init(found)
    for gradient, wanted in zip(gradients, expected, strict=True):
        updates, state = optimizer.update(gradient, state, found)
        found = jax.tree.map(jnp.add, found, updates)
        for name in params:
            # Steps of 0.01 and parameters of size 1 in float32.
            np.testing.assert_allclose(found[name], wanted[name], rtol=1e-6, atol=1e-6)
    # The decay is of the bias as well.
    undecayed = by_hand(
        params,
        gradients,
        lambda step: 0.01 * min(1.0, step / warmup if warmup else 1.0),
        clip_norm=clip_norm,
        beta1=0.8,
        beta2=0.95,
        weight_decay=0.0,
    )
    *_, last = undecayed
    assert all(np.abs(found[name] - last[name]).max() > 1e-4 for name in params)

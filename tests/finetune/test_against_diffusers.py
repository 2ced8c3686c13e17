"""Losses, gradients, optimizer steps and averages of fine-tuning against PyTorch diffusers.

Reference: tests/reference/finetuning.npz, three steps of the embedded model on given latents, noise
and timesteps, and the losses of a random v-prediction model. PyTorch and JAX sum in another order,
so gradients differ in their last bits. Adam divides by |g|: where a gradient is hardly more than
these bits the step is still as long as the learning rate, in either direction. So parameters are
compared in units of the learning rate, closely where the gradient is well above its error and
loosely elsewhere, and Adam's moments, which have no quotient, closely everywhere.
"""

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dreamda_jax.algorithms.diffusion import denoising_loss
from dreamda_jax.finetune import programs
from dreamda_jax.finetune.adaptation import full
from dreamda_jax.finetune.programs import objective_of
from dreamda_jax.models.stable_diffusion import loading
from dreamda_jax.models.weights.torch_layout import to_torch
from dreamda_jax.options.finetune import Finetune
from dreamda_jax.runtime.state import new_state
from dreamda_jax.runtime.step import make_step
from tests.support.make_checkpoint import make_tiny_sd2
from tests.support.paths import REFERENCE

ARRAYS = REFERENCE / "finetuning.npz"
WEIGHTINGS = {
    "none": {"weighting": "none"},
    "p2": {"weighting": "p2"},  # gamma 1
    "p2_half": {"weighting": "p2", "p2_gamma": 0.5},
    "min_snr": {"weighting": "min_snr"},
}
LEARNING_RATE = 1e-4
# As in make_finetuning.py; the rest, decay 0.9999 and clipping at 1 among it, are the defaults.
JOB = Finetune(learning_rate=LEARNING_RATE, warmup_steps=0, num_steps=3)


@pytest.fixture(scope="module", params=["epsilon", "v_prediction"])
def case(request, tiny, tmp_path_factory):
    """(model, params, reference arrays) of the embedded model and of the random one."""
    if request.param == "epsilon":
        return *tiny, reference_of("epsilon")
    directory = make_tiny_sd2(tmp_path_factory.mktemp("tiny_sd2"))
    return *loading.load(directory), reference_of("v_prediction")


def reference_of(prediction_type):
    with np.load(ARRAYS) as arrays:
        own = [name for name in arrays if name.startswith(f"{prediction_type}/")]
        return {name.partition("/")[2]: arrays[name] for name in own}


def named(tree):
    """PyTorch names and layout."""
    flat = flax.traverse_util.flatten_dict(jax.tree.map(np.asarray, tree))
    return to_torch(flat)


def step_loss(model, reference):
    """`loss` of `runtime.step` on (noise, timesteps): P2; the others as metrics, of one output."""
    adaptation = full(model, remat=False)
    objectives = {
        name: objective_of(model, Finetune(**options)) for name, options in WEIGHTINGS.items()
    }

    def loss(params, batch_stats, method_state, key, batch):
        noise, timesteps = batch
        denoiser = adaptation.denoiser(params, {})
        context = denoiser.encode(jnp.asarray(reference["context"]))
        rows = denoising_loss.noised(
            jnp.asarray(reference["latents"]), noise, timesteps, objectives["p2"]
        )
        output = denoiser.denoise(rows.latents, rows.timesteps, context)
        metrics, losses = {}, {}
        for name, objective in objectives.items():
            metrics["errors"], weights = denoising_loss.squared_errors(
                lambda *_: output, rows, context, objective
            )
            losses[name] = jnp.mean(weights * metrics["errors"])
        return losses["p2"], (batch_stats, method_state, {**metrics, **losses})

    return loss


def batch_of(reference, step):
    return jnp.asarray(reference["noises"][step]), jnp.asarray(reference["timesteps"][step])


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_the_weight_of_every_timestep_equals_diffusers(case, name):
    model, _, reference = case
    ours = objective_of(model, Finetune(**WEIGHTINGS[name])).weights
    # diffusers takes 1 - alpha_bar in float32, whose rounding, 6e-8, is 7e-5 of the smallest.
    np.testing.assert_allclose(ours, reference[f"weights_{name}"], rtol=1e-4)


def test_losses_equal_diffusers(case):
    model, params, reference = case
    loss = step_loss(model, reference)

    @jax.jit
    def metrics(unet, batch):
        return loss(unet, {}, None, None, batch)[1][2]

    ours = metrics(params["unet"], batch_of(reference, 0))
    # The U-Nets differ by 5e-6 (tests/models), the weights of the row at t = 50 by 5e-6 of them.
    np.testing.assert_allclose(ours["errors"], reference["errors"], rtol=2e-5)
    for name in WEIGHTINGS:
        np.testing.assert_allclose(ours[name], reference[f"loss_{name}"], rtol=2e-5)


@pytest.fixture(scope="module")
def steps(tiny):
    """(reference, states after 0, 1, 2, 3 steps, metrics of the steps, gradients of the steps)."""
    model, params = tiny
    reference = reference_of("epsilon")
    schedule = programs.learning_rate_schedule(JOB)
    seen = optax.GradientTransformation(  # keeps the gradients as the step hands them over
        lambda params: jax.tree.map(jnp.zeros_like, params),
        lambda gradients, state, params=None: (gradients, gradients),
    )
    optimizer = optax.chain(seen, programs.make_optimizer(JOB, schedule))
    step = jax.jit(
        make_step(
            step_loss(model, reference),
            optimizer,
            schedule,
            ema_decay=programs.ema_decay_schedule(JOB.ema_decay),
        )
    )
    trained = full(model, remat=False).init(jax.random.key(0), params)
    state = new_state({"params": trained, "batch_stats": {}}, optimizer, with_ema=True)
    states, metrics, gradients = [state], [], []
    for number in range(3):
        state, found = step(jax.random.key(0), state, batch_of(reference, number))
        states.append(state)
        metrics.append(found)
        gradients.append(named(state.opt_state[0]))
    return reference, states, metrics, gradients


def test_losses_and_gradient_norms_of_three_steps_equal_diffusers(steps):
    reference, _, metrics, _ = steps
    losses = [each["loss"] for each in metrics]
    # The second and third are of parameters that Adam has moved, see the top.
    np.testing.assert_allclose(losses, reference["losses"], rtol=2e-5)
    norms = [each["gradient_norm"] for each in metrics]
    np.testing.assert_allclose(norms, reference["gradient_norms"], rtol=2e-5)
    assert max(norms) > JOB.clip_norm > min(norms)  # some steps are clipped and others are not


def test_the_gradient_of_every_tensor_equals_diffusers(steps):
    reference, _, _, gradients = steps
    assert set(gradients[0]) == set(reference["tensors"])
    norms = [np.linalg.norm(gradients[0][name]) for name in reference["tensors"]]
    # Sums over pixels and rows in another order: measured 5e-6 at most.
    np.testing.assert_allclose(norms, reference["tensor_gradient_norms"], rtol=1e-4)
    for name in reference["kept"]:
        assert_close_to_largest(gradients[0][name], reference[f"gradient.{name}"], name)


def test_moments_of_adam_after_three_steps_equal_diffusers(steps):
    reference, states, _, _ = steps
    for field, theirs in (("mu", "exp_avg"), ("nu", "exp_avg_sq")):
        ours = named(optax.tree_utils.tree_get(states[3].opt_state, field))
        for name in reference["kept"]:
            assert_close_to_largest(ours[name], reference[f"{theirs}.{name}"], name)


def assert_close_to_largest(ours, theirs, name):
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype == np.float32
    # Measured 5e-6 of the tensor's largest element at most, see the top.
    assert np.abs(ours - theirs).max() < 5e-5 * np.abs(theirs).max(), name


@pytest.mark.parametrize("after", [1, 2])
def test_parameters_after_steps_equal_diffusers(steps, after):
    reference, states, _, _ = steps
    ours = named(states[after].params)
    assert_close_in_learning_rates(ours, reference, f"step{after}", 5e-3 * after)


def test_the_average_after_three_steps_equals_diffusers(steps):
    reference, states, _, _ = steps
    ours, last = named(states[3].ema), named(states[3].params)
    assert_close_in_learning_rates(ours, reference, "ema", 1e-2)
    assert np.abs(ours["conv_out.bias"] - last["conv_out.bias"]).min() > 0.1 * LEARNING_RATE


def assert_close_in_learning_rates(ours, reference, key, tolerance):
    close = []
    for name in reference["kept"]:
        off = np.abs(ours[name] - reference[f"{key}.{name}"]) / LEARNING_RATE
        # A gradient's error is at most 5e-6 of the tensor's largest, so 5e-3 of one a thousandth as
        # large; the step, a mean of gradients over the root of that of their squares, is off by
        # less. To that comes the rounding of a parameter between 1 and 2, by 1.2e-3 learning rates
        # a step. Without weight decay such a one would be off by 1e-2 a step.
        gradient = np.abs(reference[f"gradient.{name}"])
        clear = gradient > 1e-3 * gradient.max()
        assert off[clear].max() < tolerance, name
        assert off.max() < 2.1 * 3, name  # the largest change there can be, in the other direction
        close.append(np.ravel(off < tolerance))
    assert np.concatenate(close).mean() > 0.99

"""Encoder features taken over from the first step of a group: by hand on the tiny model."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dreamda_jax.algorithms.diffusion.encoder_reuse import EncoderReuse


@pytest.fixture(scope="module")
def run(tiny):
    """`run(every)`, which compiles a program of each number once."""
    return functools.cache(functools.partial(run_steps, tiny))


def run_steps(tiny, every):
    """Outputs of five steps on different latents and timesteps, float32 [5, 2, 4, 8, 8]."""
    model, params = tiny
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(5, 2, 4, 8, 8)).astype(np.float32)
    context = rng.normal(size=(2, model.num_tokens, model.unet.cross_attention_dim))
    timesteps = np.int32([900, 700, 500, 300, 100])

    def program(params):
        network = EncoderReuse(
            lambda x, t, c: model.denoise(params, x, t, c), model.encoder_modules, every=every
        )

        def step(count, now):
            return count + 1, network(*now, jnp.float32(context))

        return network.scan(step, 0, (latents, timesteps))

    count, made = jax.jit(program)(params)
    assert count == 5
    return np.asarray(made), latents, timesteps, np.float32(context)


def test_groups_take_over_the_first_step_s_encoder(run):
    """Whole calls where a group begins; after it the latents no longer matter, the time does."""
    whole, *_ = run(1)
    made, *_ = run(2)
    # Steps 0, 2 and the lone 4 begin groups. The programs differ, so they round differently.
    np.testing.assert_allclose(made[[0, 2, 4]], whole[[0, 2, 4]], atol=2e-5)
    assert np.abs(made[[1, 3]] - whole[[1, 3]]).max() > 0.1
    assert np.abs(made[1] - made[0]).max() > 1e-3


@pytest.mark.parametrize("every", [2, 5])
def test_the_decoder_runs_at_its_own_time(tiny, run, every):
    """A step that takes over equals the network whose encoder sees the group's first step."""
    model, params = tiny
    made, latents, timesteps, context = run(every)
    kept = {}

    def keep(next_fun, args, kwargs, call):
        output = next_fun(*args, **kwargs)
        path = call.module.path
        if call.method_name != "__call__" or len(path) != 1:
            return output
        if path[0].startswith(("conv_in", "down_blocks", "mid_block")):
            return kept.setdefault(path[0], output)
        return output

    @jax.jit
    def by_hand(params):
        with nn.intercept_methods(keep):
            model.denoise(params, latents[0], timesteps[0], context)
            return model.denoise(params, latents[1], timesteps[1], context)

    second = by_hand(params)
    np.testing.assert_allclose(made[1], second, atol=2e-5)

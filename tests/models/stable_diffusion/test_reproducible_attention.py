"""The same attention, output and gradient, as diffusers' own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest


@pytest.mark.slow
def test_output_and_gradient_are_those_of_the_model(tiny):
    model, params = tiny
    latents = np.random.default_rng(0).normal(size=(1, 4, 8, 8)).astype(np.float32)
    context = np.random.default_rng(1).normal(size=(1, 5, 64)).astype(np.float32)

    def loss(context, reproducible):
        output = model.denoise(params, latents, 300, context, reproducible_gradient=reproducible)
        return jnp.mean(jnp.square(output)), output

    run = jax.jit(
        jax.grad(loss, has_aux=True),
        static_argnums=1,
        compiler_options={"xla_backend_optimization_level": 0},
    )
    (gradient, output), (expected_gradient, expected_output) = (
        run(context, True),
        run(context, False),
    )
    # float32, another order of a product and a quotient in some ten attentions.
    np.testing.assert_allclose(output, expected_output, rtol=1e-5, atol=1e-5)
    largest = np.abs(expected_gradient).max()
    assert largest > 0
    assert np.abs(gradient - expected_gradient).max() < 1e-5 * largest

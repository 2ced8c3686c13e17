"""The embedded model and its U-Net as one compiled program, shared by the tests of this folder."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest


@pytest.fixture(scope="session")
def network(tiny):
    """`network(latents, t, context, residual=0)` of two rows: compiled once, callable without jit.

    Under `jax.disable_jit()` a scan runs step by step in Python, so that loops of every length and
    kind use this one program. XLA optimises little: its optimisation costs more than it saves here.
    """
    model, params = tiny

    def denoise(params, latents, t, context, residual):
        return model.denoise(params, latents, t, context, mid_block_additional_residual=residual)

    latents = jax.ShapeDtypeStruct((2, 4, 8, 8), jnp.float32)
    context = jax.ShapeDtypeStruct((2, 16, 64), jnp.float32)
    residual = jax.ShapeDtypeStruct((2, 4, 4, 128), jnp.float32)
    t = jax.ShapeDtypeStruct((), jnp.int32)
    compiled = (
        jax.jit(denoise)
        .lower(params, latents, t, context, residual)
        .compile({"xla_backend_optimization_level": 0})
    )
    zeros = np.zeros(residual.shape, np.float32)

    def call(latents, t, context, residual=zeros):
        with jax.disable_jit(False):
            return compiled(params, latents, np.int32(t), context, residual)

    return call

"""Attention: JAX's own numbers, its softmax's gradient, and scores that float16 cannot hold."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamda_jax.models.stable_diffusion.networks.attention import plain_attention, softmax


def heads(count, seed, dtype="float32", scale=1.0):
    return (scale * jax.random.normal(jax.random.key(seed), (2, count, 3, 8))).astype(dtype)


@pytest.mark.parametrize("upcast", [False, True])
def test_it_is_dot_product_attention(upcast):
    query, key, value = heads(5, 0), heads(7, 1), heads(7, 2)
    found = plain_attention(query, key, value, scale=0.3, upcast=upcast)
    expected = jax.nn.dot_product_attention(query, key, value, scale=0.3)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_softmax_and_its_gradient_are_jax_s():
    scores, weights = (jax.random.normal(jax.random.key(i), (4, 6)) * 5 for i in range(2))
    scores = scores.at[0].set(1e4 * jnp.arange(6))  # its exponentials overflow if taken as they are
    np.testing.assert_allclose(softmax(scores), jax.nn.softmax(scores), rtol=1e-6, atol=1e-30)

    def gradient(function):
        return jax.grad(lambda x: jnp.sum(weights * function(x)))(scores)

    np.testing.assert_allclose(gradient(softmax), gradient(jax.nn.softmax), rtol=1e-5, atol=1e-6)


def test_scores_that_overflow_float16_need_upcasting():
    query, key, value = (
        heads(4, 0, "float16", 200),
        heads(4, 1, "float16", 200),
        heads(4, 2, "float16"),
    )
    plain = plain_attention(query, key, value, scale=1.0, upcast=False)
    assert not np.isfinite(plain).all()
    found = plain_attention(query, key, value, scale=1.0, upcast=True)
    assert found.dtype == jnp.float16
    wide = (tensor.astype(jnp.float32) for tensor in (query, key, value))
    expected = jax.nn.dot_product_attention(*wide, scale=1.0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-3)  # a place of the result

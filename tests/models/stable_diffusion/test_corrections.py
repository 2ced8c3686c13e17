"""GroupNorm in two steps: Flax's numbers and gradients."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamda_jax.models.stable_diffusion.corrections import group_norm


def drawn(shape, dtype, seed=0):
    generator = np.random.default_rng(seed)
    channels = shape[-1]
    images = jnp.asarray(3 + 2 * generator.normal(size=shape), dtype)
    params = {
        "scale": jnp.asarray(generator.normal(size=channels), dtype),
        "bias": jnp.asarray(generator.normal(size=channels), dtype),
    }
    return images, params


# float32: sums of up to 1,024 numbers in another order. bfloat16: a place of the result.
@pytest.mark.parametrize(
    ("dtype", "rtol", "atol"), [("float32", 1e-5, 2e-5), ("bfloat16", 8e-3, 1e-2)]
)
@pytest.mark.parametrize("shape", [(2, 8, 8, 64), (3, 4, 4, 32), (1, 6, 2, 96)])
def test_flax_s_numbers(shape, dtype, rtol, atol):
    images, params = drawn(shape, dtype)
    expected = nn.GroupNorm(num_groups=32, epsilon=1e-5).apply({"params": params}, images)
    found = group_norm(images, params, num_groups=32, epsilon=1e-5)
    assert found.dtype == expected.dtype
    as_float = (np.asarray(array, np.float32) for array in (found, expected))
    np.testing.assert_allclose(*as_float, rtol=rtol, atol=atol)


def test_a_constant_image_is_its_bias():
    images, params = jnp.full((1, 4, 4, 8), 1e3), {"scale": jnp.ones(8), "bias": jnp.arange(8.0)}
    found = group_norm(images, params, num_groups=4, epsilon=1e-5)
    np.testing.assert_array_equal(found[0, 2, 3], np.arange(8))


def test_flax_s_gradients():
    images, params = drawn((2, 4, 4, 16), "float32")
    weights = jax.random.normal(jax.random.key(1), images.shape)

    def of_flax(images, params):
        module = nn.GroupNorm(num_groups=4, epsilon=1e-5)
        return jnp.sum(weights * module.apply({"params": params}, images))

    def ours(images, params):
        return jnp.sum(weights * group_norm(images, params, num_groups=4, epsilon=1e-5))

    expected, found = (jax.grad(f, argnums=(0, 1))(images, params) for f in (of_flax, ours))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), found, expected
    )

"""GroupNorm: the numbers of float64 whatever the mean is, Flax's numbers and gradients."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamda_jax.models.stable_diffusion.networks.group_norm import GroupNorm, group_norm


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


def in_float64(images, params, *, num_groups, epsilon):
    images = np.asarray(images, np.float64)
    grouped = images.reshape(images.shape[0], -1, num_groups, images.shape[-1] // num_groups)
    centered = grouped - grouped.mean((1, 3), keepdims=True)
    normal = centered / np.sqrt(grouped.var((1, 3), keepdims=True) + epsilon)
    scale, bias = (np.asarray(params[name], np.float64) for name in ("scale", "bias"))
    return normal.reshape(images.shape) * scale + bias


# A few roundings of float32 in a result of about 5. E[x²] − E[x]² is wrong by 1e-3 at 100.
@pytest.mark.parametrize("shape", [(2, 16, 16, 64), (1, 13, 7, 96), (2, 100, 32), (2, 1, 1, 64)])
@pytest.mark.parametrize("mean", [0.0, 10.0, -100.0, 1000.0])
def test_a_large_mean_costs_no_digits(shape, mean):
    images, params = drawn(shape, "float32")
    images = images + 2 * mean
    want = in_float64(images, params, num_groups=16, epsilon=1e-6)
    found = group_norm(images, params, num_groups=16, epsilon=1e-6)
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-6 * np.abs(want).max())


def test_rows_far_from_all_others_cost_no_digits():
    """The rows that the shift is taken from may be anything.

    Three bits of the variance are lost, and what the compiler's own order of summing costs: 9e-6 of
    the largest with jax 0.8, 6e-7 with 0.10.
    """
    images, params = drawn((2, 32, 32, 64), "float32")
    images = images.at[:, ::8].add(1e4)
    want = in_float64(images, params, num_groups=32, epsilon=1e-5)
    found = group_norm(images, params, num_groups=32, epsilon=1e-5)
    np.testing.assert_allclose(found, want, rtol=0, atol=2e-5 * np.abs(want).max())


def test_the_module_has_the_parameters_of_flax_s():
    images, params = drawn((2, 4, 4, 32), "bfloat16")
    module = GroupNorm(num_groups=8, epsilon=1e-3)
    shapes = jax.tree.map(jnp.shape, module.init(jax.random.key(0), images))
    flax = nn.GroupNorm(num_groups=8).init(jax.random.key(0), images)
    assert shapes == jax.tree.map(jnp.shape, flax)
    found = module.apply({"params": params}, images)
    assert found.dtype == jnp.bfloat16
    expected = group_norm(images, params, num_groups=8, epsilon=1e-3)
    np.testing.assert_array_equal(found, expected)


def test_channels_that_make_no_groups_are_refused():
    images, params = drawn((1, 4, 4, 30), "float32")
    with pytest.raises(ValueError, match="30 channels cannot be divided into 4 groups"):
        group_norm(images, params, num_groups=4, epsilon=1e-5)

"""Keys are of one generator, whatever JAX's default is."""

import jax
import numpy as np
import pytest

from dreamda_jax.algorithms import random_key
from dreamda_jax.algorithms.diffusion import keys as keys_lib


@pytest.mark.parametrize("default", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_another_default_changes_nothing(default):
    with jax.default_prng_impl(default):
        raw = random_key.raw_key(7)
        seeds = keys_lib.seed_keys(raw, np.arange(3))
        noise = keys_lib.normal(seeds, 5, keys_lib.Stream.START, (4,))
        drawn = jax.random.normal(random_key.key(7), (4,))
    own = jax.random.key(7, impl="threefry2x32")
    np.testing.assert_array_equal(raw, jax.random.key_data(own))
    np.testing.assert_array_equal(seeds[2], jax.random.key_data(jax.random.fold_in(own, 2)))
    third = jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(own, 2), 5), 0)
    np.testing.assert_array_equal(noise[2], jax.random.normal(third, (4,)))
    np.testing.assert_array_equal(drawn, jax.random.normal(own, (4,)))


def test_raw_data_takes_both_kinds_of_key():
    raw = jax.random.key_data(jax.random.key(3))
    np.testing.assert_array_equal(random_key.raw_data(jax.random.key(3)), raw)
    np.testing.assert_array_equal(random_key.raw_data(raw), raw)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (lambda: jax.random.key(0, impl="rbg"), "this one is rbg's"),
        (lambda: np.zeros(4, np.uint32), r"uint32 \[4\]"),
        (lambda: np.zeros(2, np.int32), r"int32 \[2\]"),
    ],
)
def test_other_keys_are_refused(key, said):
    with pytest.raises(ValueError, match=said):
        random_key.raw_data(key())

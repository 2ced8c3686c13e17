"""The noise: its distribution, its independence, and that it depends on nothing it should not.

The draws are fixed by the key, so a bound either holds for ever or never; the bounds are five or
six standard errors, which honest noise misses less than once in a million.
"""

import itertools

import jax
import numpy as np
import pytest
import scipy.stats

from dreamda_jax.algorithms.diffusion import keys as keys_lib
from dreamda_jax.algorithms.diffusion.keys import Stream

ROOT = jax.random.key_data(jax.random.key(7))
SHAPE = (4, 16, 16)
SEEDS = np.arange(4)
VARIANTS = np.arange(4)
TIMESTEPS = (0, 1, 761)

# XLA optimises the unrolled threefry rounds for seconds per shape; the numbers do not need it.
normal = jax.jit(
    keys_lib.normal,
    static_argnums=(2, 3),
    compiler_options={"xla_backend_optimization_level": 0},
)


@pytest.fixture(scope="module")
def draws():
    """{(seed, "own" or variant, timestep, stream): 1024 numbers}."""
    keys = keys_lib.seed_keys(ROOT, SEEDS)
    own = np.asarray(keys_lib.own_keys(keys))[:, None]
    rows = np.concatenate([own, keys_lib.variant_keys(keys, VARIANTS)], axis=1).reshape(-1, 2)
    names = list(itertools.product(SEEDS.tolist(), ["own", *VARIANTS.tolist()]))
    return {
        (*name, t, stream): noise
        for t, stream in itertools.product(TIMESTEPS, Stream)
        for name, noise in zip(
            names,
            np.asarray(normal(rows, t, stream, SHAPE)).reshape(len(rows), -1),
            strict=True,
        )
    }


def test_standard_normal(draws):
    every = np.concatenate(list(draws.values())).astype(np.float64)
    n = every.size
    assert n == 4 * 5 * 3 * len(Stream) * 1024
    assert abs(every.mean()) < 5 / np.sqrt(n)
    assert abs(every.var() - 1) < 5 * np.sqrt(2 / n)
    assert abs(scipy.stats.skew(every)) < 5 * np.sqrt(6 / n)
    assert abs(scipy.stats.kurtosis(every)) < 5 * np.sqrt(24 / n)
    assert scipy.stats.kstest(every, "norm").pvalue > 1e-4


def test_each_draw_alone_is_standard_normal(draws):
    """A mean or variance that one row, step or stream has of its own would hide in the whole."""
    each = np.stack(list(draws.values())).astype(np.float64)
    n = each.shape[1]
    assert np.abs(each.mean(axis=1)).max() < 5 / np.sqrt(n)
    assert np.abs(each.var(axis=1) - 1).max() < 6 * np.sqrt(2 / n)  # chi-squared: a heavier tail
    pvalues = [scipy.stats.kstest(row, "norm").pvalue for row in each]
    # Under the null hypothesis the p-values of all these draws are uniform themselves.
    assert scipy.stats.kstest(pvalues, "uniform").pvalue > 1e-4


def test_rows_steps_variants_seeds_and_streams_are_uncorrelated(draws):
    each = np.stack(list(draws.values())).astype(np.float64)
    for power in (1, 2):  # squares too: equal magnitudes with other signs are not independent
        correlation = np.corrcoef(each**power)
        off_diagonal = correlation[np.triu_indices(len(each), k=1)]
        # 28,680 pairs: six standard errors, seven for the squares with their heavier tail.
        assert np.abs(off_diagonal).max() < (5 + power) / np.sqrt(each.shape[1])
        # Together they have the spread of independent draws, within 5 %.
        assert off_diagonal.std() == pytest.approx(1 / np.sqrt(each.shape[1]), rel=0.05)


def test_neighbouring_cells_and_channels_are_uncorrelated(draws):
    maps = np.stack(list(draws.values())).reshape(-1, *SHAPE).astype(np.float64)
    for axis in (1, 2, 3):
        first = np.take(maps, range(SHAPE[axis - 1] - 1), axis=axis)
        second = np.take(maps, range(1, SHAPE[axis - 1]), axis=axis)
        assert abs((first * second).mean()) < 5 / np.sqrt(first.size)


def test_a_row_depends_on_its_own_key_only():
    keys = np.asarray(keys_lib.seed_keys(ROOT, np.arange(6)))
    batch = np.asarray(normal(keys, 41, Stream.STEP, SHAPE))
    assert batch.dtype == np.float32
    alone = normal(keys[4:5], 41, Stream.STEP, SHAPE)
    turned = normal(keys[::-1], 41, Stream.STEP, SHAPE)
    np.testing.assert_array_equal(alone[0], batch[4])
    np.testing.assert_array_equal(turned[::-1], batch)


def test_a_seed_s_key_depends_on_its_id_only():
    many = np.asarray(keys_lib.seed_keys(ROOT, np.array([5, 3, 900])))
    np.testing.assert_array_equal(keys_lib.seed_keys(ROOT, np.array([3]))[0], many[1])
    np.testing.assert_array_equal(many[2], jax.random.fold_in(ROOT, 900))
    other_root = jax.random.key_data(jax.random.key(8))
    assert (np.asarray(keys_lib.seed_keys(other_root, np.array([3]))) != many[1]).any()


def test_a_variant_s_key_depends_on_its_number_only():
    keys = keys_lib.seed_keys(ROOT, np.arange(3))
    many = np.asarray(keys_lib.variant_keys(keys, np.array([9, 0, 4])))
    assert many.shape == (3, 3, 2)
    np.testing.assert_array_equal(keys_lib.variant_keys(keys[1:2], np.array([4]))[0, 0], many[1, 2])


def test_own_keys_differ_from_every_variant_s():
    keys = keys_lib.seed_keys(ROOT, np.arange(20))
    own = np.asarray(keys_lib.own_keys(keys)).reshape(-1, 2)
    variants = np.asarray(keys_lib.variant_keys(keys, np.arange(1000))).reshape(-1, 2)
    every = np.concatenate([np.asarray(keys), own, variants])
    assert len({tuple(key) for key in every.tolist()}) == 20 + 20 + 20_000


def test_documented_derivation():
    """§5 of the design: from the key a record names, anyone must be able to draw again."""
    key = jax.random.fold_in(jax.random.key(7), 12)  # seed image 12
    key = jax.random.fold_in(key, 3 + 1)  # its variant 3
    key = jax.random.fold_in(jax.random.fold_in(key, 761), 3)  # a timestep, the perturbation
    expected = jax.random.normal(key, (2, 3))
    rows = keys_lib.variant_keys(keys_lib.seed_keys(ROOT, np.array([12])), np.array([3]))[:, 0]
    ours = normal(rows, 761, Stream.PERTURBATION, (2, 3))
    np.testing.assert_array_equal(ours[0], expected)

"""Mean and covariance in blocks, against numpy's in one piece; both float64, hence 1e-10."""

import numpy as np
import pytest

from dreamda_jax.algorithms.metrics.feature_blocks import FeatureSet
from dreamda_jax.algorithms.metrics.moments import merge, moments, remove


def rows(count: int, *, seed: int = 0) -> np.ndarray:
    # Far from the origin: sums of squares less squared sums would lose eight digits.
    return np.random.default_rng(seed).normal(1e4, 1, (count, 6)).astype(np.float32)


def assert_of(found, values):
    assert found.rows == len(values)
    np.testing.assert_allclose(found.mean, values.mean(axis=0, dtype=np.float64), rtol=1e-14)
    expected = np.cov(values.astype(np.float64), rowvar=False)
    np.testing.assert_allclose(found.covariance, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("block_rows", [1, 7, 50, 2048])
def test_blocks_add_up_to_numpy_s_covariance(block_rows):
    values = rows(50)
    assert_of(moments(FeatureSet(values, "real"), block_rows=block_rows), values)


def test_some_rows():
    values, chosen = rows(50), np.array([3, 17, 18, 19, 40])
    found = moments(FeatureSet(values, "real"), rows=chosen, block_rows=2)
    assert_of(found, values[chosen])


def test_merged_and_taken_out_again():
    first, second = rows(30), rows(11, seed=1) + 5
    parts = [moments(FeatureSet(values, "real")) for values in (first, second)]
    both = merge(*parts)
    assert_of(both, np.concatenate([first, second]))
    assert_of(remove(both, parts[1]), first)
    with pytest.raises(ValueError, match="leaves none"):
        remove(both, both)


def test_no_rows():
    with pytest.raises(ValueError, match="no real images"):
        moments(FeatureSet(rows(0), "real"))

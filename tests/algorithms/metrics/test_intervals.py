"""Intervals of means: against scipy's bootstrap, known errors, and how often they hold."""

import numpy as np
import pytest
from scipy import stats

from dreamda_jax.algorithms.metrics.intervals import (
    mean_estimate,
    normal_estimate,
    standard_error_of_mean,
)

VALUES = np.random.default_rng(0).gamma(0.5, size=80)  # skew, so that the interval is not symmetric


def test_percentile_bootstrap_is_scipy_s():
    found = mean_estimate(VALUES, draws=5000)
    expected = stats.bootstrap(
        (VALUES,), np.mean, n_resamples=5000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert found.value == pytest.approx(VALUES.mean())
    # Both are random: a percentile of 5,000 draws has a deviation of some 4 % of the error.
    margin = 0.2 * VALUES.std() / np.sqrt(len(VALUES))
    assert found.low == pytest.approx(expected.low, abs=margin)
    assert found.high == pytest.approx(expected.high, abs=margin)
    assert found.high - found.value > 1.1 * (found.value - found.low)


def test_the_seed_decides():
    assert mean_estimate(VALUES, seed=3) == mean_estimate(VALUES, seed=3)
    assert mean_estimate(VALUES, seed=3).low != mean_estimate(VALUES, seed=4).low


def test_booleans_and_single_values():
    found = mean_estimate(np.array([True, False, False, False] * 25))
    assert found.value == 0.25
    assert found.low == pytest.approx(0.25 - 1.96 * np.sqrt(0.1875 / 100), abs=0.02)
    assert mean_estimate(np.ones(9, bool)) == (1, 1, 1)
    assert mean_estimate(np.array([0.5])) == (0.5, 0.5, 0.5)


def test_standard_error():
    assert standard_error_of_mean(VALUES) == pytest.approx(stats.sem(VALUES), rel=1e-12)
    assert np.isnan(standard_error_of_mean(VALUES[:1]))
    assert normal_estimate(3, 0.5) == pytest.approx((3, 2.02, 3.98))


def test_clusters_of_one_size_count_as_their_means():
    clusters = np.random.default_rng(1).permutation(np.repeat(np.arange(100, 120), 4))
    means = np.array([VALUES[clusters == cluster].mean() for cluster in range(100, 120)])
    expected = stats.sem(means)
    assert standard_error_of_mean(VALUES, clusters) == pytest.approx(expected, rel=1e-12)
    found, of_means = mean_estimate(VALUES, clusters=clusters), mean_estimate(means)
    assert found == pytest.approx(of_means, rel=1e-12)


def test_intervals_hold_for_clusters_of_different_sizes():
    held = {"bootstrap": 0, "normal": 0, "alone": 0}
    repetitions = 200
    for repetition in range(repetitions):
        rng = np.random.default_rng(repetition)
        clusters = np.repeat(np.arange(50), rng.integers(1, 12, 50))
        values = rng.standard_normal(50)[clusters] + 0.3 * rng.standard_normal(len(clusters))
        bootstrap = mean_estimate(values, draws=200, clusters=clusters)
        normal = normal_estimate(values.mean(), standard_error_of_mean(values, clusters))
        alone = normal_estimate(values.mean(), standard_error_of_mean(values))
        for name, found in (("bootstrap", bootstrap), ("normal", normal), ("alone", alone)):
            held[name] += found.low <= 0 <= found.high
    assert held["bootstrap"] > 0.88 * repetitions  # of 95 %, with 50 clusters
    assert held["normal"] > 0.88 * repetitions
    assert held["alone"] < 0.8 * repetitions


def test_bad_input():
    for values in (np.zeros(0), np.array([1, np.nan]), np.zeros((2, 2))):
        with pytest.raises(ValueError, match="finite numbers of at least one image"):
            mean_estimate(values)
        with pytest.raises(ValueError, match="finite numbers of at least one image"):
            standard_error_of_mean(values)
    with pytest.raises(ValueError, match=r"80 values, but clusters are \(79,\)"):
        mean_estimate(VALUES, clusters=np.zeros(79, int))
    with pytest.raises(ValueError, match="at least one draw"):
        mean_estimate(VALUES, draws=0)

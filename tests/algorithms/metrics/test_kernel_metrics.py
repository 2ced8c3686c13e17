"""KID, MMD and CMMD against torch-fidelity and google-research's code.

References are float64 (tests/reference/make_distribution_metrics.py). Ours has kernels in float32,
with an error of 1e-7 each, and differences of their means: 2e-7 of the result measured here, and
1e-6 with 2048 features and an MMD² of 4e-4.
"""

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist

from dreamda_jax.algorithms.metrics.kid import kid, kid_estimate
from dreamda_jax.algorithms.metrics.mmd import (
    cmmd,
    cmmd_estimate,
    median_bandwidth,
    mmd,
    mmd_estimate,
)
from tests.reference import make_distribution_metrics as reference
from tests.support.paths import REFERENCE

ARRAYS = np.load(REFERENCE / "distribution_metrics.npz")
TOLERANCE = 5e-6


def unit_features(case):
    return [reference.unit(values) for values in reference.features(case)]


@pytest.mark.parametrize("case", reference.CASES)
def test_kid_is_torch_fidelity_s_on_the_same_subsets(case):
    found = kid(
        *reference.features(case),
        subsets=reference.SUBSETS,
        subset_size=reference.SUBSET_SIZE,
        seed=reference.SEED,
    )
    np.testing.assert_allclose((found.mean, found.std), ARRAYS[f"{case}/kid"], rtol=TOLERANCE)
    assert (found.subset_size, found.subsets) == (reference.SUBSET_SIZE, reference.SUBSETS)


@pytest.mark.parametrize("case", reference.CASES)
def test_unbiased_mmd_is_torch_fidelity_s(case):
    real, synthetic = reference.features(case)
    common = min(len(real), len(synthetic))
    found = mmd(real[:common], synthetic[:common], sigma=reference.SIGMA)
    np.testing.assert_allclose(found.unbiased, ARRAYS[f"{case}/mmd"], rtol=TOLERANCE)


@pytest.mark.parametrize("case", reference.CASES)
def test_cmmd_is_google_research_s(case):
    found = cmmd_estimate(cmmd(*unit_features(case)))
    np.testing.assert_allclose(found.value, ARRAYS[f"{case}/cmmd"], rtol=TOLERANCE)
    assert found.low < found.value < found.high


def test_mmd_of_sets_of_different_sizes():
    real, synthetic = (values.astype(np.float64) for values in reference.features("many"))
    n, m = len(real), len(synthetic)
    kernels = [
        np.exp(-cdist(x, y, "sqeuclidean") / (2 * 3.0**2))
        for x, y in ((real, real), (synthetic, synthetic), (real, synthetic))
    ]
    found = mmd(real, synthetic, sigma=3.0)
    biased = kernels[0].mean() + kernels[1].mean() - 2 * kernels[2].mean()
    unbiased = (kernels[0].sum() - n) / (n * (n - 1)) + (kernels[1].sum() - m) / (m * (m - 1))
    unbiased -= 2 * kernels[2].mean()
    np.testing.assert_allclose(found.biased, biased, rtol=TOLERANCE)
    np.testing.assert_allclose(found.unbiased, unbiased, rtol=TOLERANCE)


def test_far_from_the_origin():
    real, synthetic = reference.features("few")
    near = mmd(real, synthetic, sigma=3.0)
    # 2⁸ leaves features as exact multiples of 2⁻¹⁵, so nothing but the place is changed.
    real, synthetic = (np.round(values * 2**15) / 2**15 for values in (real, synthetic))
    far = mmd(real + 2.0**8, synthetic + 2.0**8, sigma=3.0)
    np.testing.assert_allclose(far.unbiased, near.unbiased, rtol=1e-4)  # of the rounding to 2⁻¹⁵


def test_the_block_size_is_of_no_influence():
    sets = reference.features("many")
    for block_rows in (64, 300):
        found = mmd(*sets, sigma=3.0, block_rows=block_rows)
        whole = mmd(*sets, sigma=3.0)
        assert found[:2] == pytest.approx(whole[:2], rel=TOLERANCE)
        for ours, theirs in zip(found.means, whole.means, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE)
    small = kid(*sets, subsets=4, subset_size=50, block_rows=16)
    large = kid(*sets, subsets=4, subset_size=50)
    assert small.mean == pytest.approx(large.mean, rel=TOLERANCE)
    assert small.std == pytest.approx(large.std, abs=TOLERANCE * large.mean)
    assert small.standard_error == pytest.approx(large.standard_error, rel=TOLERANCE)


def test_features_on_the_disk(tmp_path):
    sets = reference.features("many")
    stored = []
    for name, values in zip("xy", sets, strict=True):
        np.save(tmp_path / f"{name}.npy", values)
        stored.append(np.load(tmp_path / f"{name}.npy", mmap_mode="r"))
    assert median_bandwidth(stored[0]) == median_bandwidth(sets[0])
    assert mmd(*stored, sigma=3.0, block_rows=64)[:2] == mmd(*sets, sigma=3.0, block_rows=64)[:2]
    assert kid(*stored, subsets=2, subset_size=50) == kid(*sets, subsets=2, subset_size=50)


def test_a_set_and_itself():
    real, _ = reference.features("few")
    found = mmd(real, real, sigma=3.0)
    assert found.biased < 1e-8
    assert -0.02 < found.unbiased < 0  # kernels with itself are left out of two of three means
    assert kid(real, real, subsets=2, subset_size=100).subset_size == 40


def test_identical_images():
    flat = np.full((12, 64), 0.3, np.float32)
    assert mmd(flat, flat[:5], sigma=3.0)[:2] == pytest.approx((0, 0), abs=1e-12)
    assert kid(flat, flat[:5], subsets=2).mean == pytest.approx(0, abs=1e-6)
    others = flat.copy()
    others[:2] = np.random.default_rng(0).random((2, 64))
    for real in (flat, others):  # of the latter, 45 of 66 pairs are equal
        with pytest.raises(ValueError, match="half of the pairs of real images have equal"):
            median_bandwidth(real)


def test_subsets_as_large_as_the_smaller_set():
    real, synthetic = reference.features("few")
    found = kid(real, synthetic, subsets=3)
    assert found.subset_size == 30  # of 1000 that were asked for
    equal = kid(real[:30], synthetic, subsets=3)
    assert equal.std < 1e-6  # all subsets are the whole
    assert equal.standard_error > 1e-3
    estimate = kid_estimate(equal)
    assert estimate.value == equal.mean
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * equal.standard_error)


def draws(repetition: int, count: int, shift: float) -> list[np.ndarray]:
    rng = np.random.default_rng(repetition)
    real, synthetic = rng.standard_normal((2, count, 8)).astype(np.float32)
    return [real, synthetic + np.float32(shift)]


@pytest.mark.parametrize(("shift", "low", "high"), [(0.5, 0.8, 1.25), (0.0, 1.1, 1.8)])
def test_standard_errors_are_those_of_repeated_draws(shift, low, high):
    """A deviation over 60 draws is known to 9 %; for equal distributions √2 is expected of MMD."""
    found: dict[str, list] = {"mmd": [], "kid": [], "kid of one subset": []}
    for repetition in range(60):
        sets = draws(repetition, 100, shift)
        found["mmd"].append(mmd_estimate(mmd(*sets, sigma=3.0, block_rows=100)))
        for name, subsets in (("kid", 8), ("kid of one subset", 1)):
            result = kid(*sets, subsets=subsets, subset_size=50, seed=repetition)
            found[name].append(kid_estimate(result))
    for name, estimates in found.items():
        values, lows, highs = np.array(estimates).T
        errors = (highs - lows) / 2 / 1.96
        ratio = np.sqrt(np.mean(errors**2)) / values.std(ddof=1)
        assert low < ratio < high, name
        if not shift:  # both are unbiased
            assert abs(values.mean()) < 4 * values.std() / np.sqrt(60)


def test_variants_of_a_seed_count_together():
    real, synthetic = reference.features("many")
    result = mmd(real[:60], np.repeat(synthetic[:40], 5, axis=0), sigma=3.0)
    alone = mmd_estimate(result)
    together = mmd_estimate(result, synthetic_clusters=np.repeat(np.arange(40), 5))
    assert together.value == alone.value
    assert together.high - together.low > 1.3 * (alone.high - alone.low)


def test_bandwidth_is_the_median_distance():
    real, _ = reference.features("many")
    expected = np.median(pdist(real.astype(np.float64)))
    assert median_bandwidth(real) == pytest.approx(expected, rel=1e-12)
    spread = real[[0, 99, 199, 299]]
    assert median_bandwidth(real, most=4) == median_bandwidth(spread)
    assert median_bandwidth(spread + 1e4) == pytest.approx(median_bandwidth(spread), rel=1e-2)


def test_bad_input():
    real, synthetic = reference.features("few")
    broken = synthetic.copy()
    broken[17, 0] = np.nan
    for metric, name in (
        (lambda *sets: mmd(*sets, sigma=3.0, block_rows=16), "MMD"),
        (lambda *sets: kid(*sets, subsets=2), "KID"),
        (lambda x, y: cmmd(reference.unit(x), reference.unit(y), block_rows=16), "CMMD"),
    ):
        with pytest.raises(ValueError, match=f"{name} needs at least 2 images in each set"):
            metric(real[:1], synthetic)
        with pytest.raises(ValueError, match="64 features, synthetic ones 60"):
            metric(real, synthetic[:, :60])
        with pytest.raises(ValueError, match="synthetic features: row 17 holds NaN"):
            metric(real, broken)
    for sigma in (0, -1, np.nan, np.inf):
        with pytest.raises(ValueError, match="sigma must be a finite number above 0"):
            mmd(real, synthetic, sigma=sigma)
    stretched = reference.unit(synthetic)
    stretched[20] *= 1.01
    with pytest.raises(ValueError, match="synthetic embeddings must have length 1, row 20 has"):
        cmmd(reference.unit(real), stretched, block_rows=8)
    with pytest.raises(ValueError, match="0 subsets of 1000"):
        kid(real, synthetic, subsets=0)
    with pytest.raises(ValueError, match="got 3 subsets of 1"):
        kid(real, synthetic, subsets=3, subset_size=1)
    with pytest.raises(ValueError, match="too large: their kernel leaves float32"):
        kid(1e9 * real, synthetic, subsets=1)
    with pytest.raises(ValueError, match="the bandwidth of MMD needs at least 2 images"):
        median_bandwidth(real[:1])

"""FID against torch-fidelity and pytorch-fid (tests/reference/make_distribution_metrics.py)."""

import numpy as np
import pytest

from dreamda_jax.algorithms.metrics.feature_blocks import FeatureSet
from dreamda_jax.algorithms.metrics.fid import (
    fid,
    fid_by_class,
    fit_gaussian,
    frechet_distance,
    gaussian_of,
)
from dreamda_jax.algorithms.metrics.jackknife import fid_estimate
from dreamda_jax.algorithms.metrics.moments import moments
from tests.reference import make_distribution_metrics as reference
from tests.support.paths import REFERENCE

ARRAYS = np.load(REFERENCE / "distribution_metrics.npz")

# All float64. With regular covariances ours and theirs differ by 1e-14; singular ones have
# eigenvalues that are 0 but for rounding, of which theirs add up the roots: 1e-9.
TOLERANCE = 1e-7


@pytest.mark.parametrize("case", reference.CASES)
def test_the_references_are_of_these_features(case):
    total = sum(values.sum(dtype=np.float64) for values in reference.features(case))
    np.testing.assert_allclose(total, ARRAYS[f"{case}/sum"], rtol=1e-9)  # numpy's stream changed?


@pytest.mark.parametrize("case", reference.CASES)
@pytest.mark.parametrize("other", ["torch_fidelity", "pytorch_fid"])
def test_fid_is_that_of_other_implementations(case, other):
    found = fid(*reference.features(case))
    np.testing.assert_allclose(found, ARRAYS[f"{case}/fid_{other}"], rtol=TOLERANCE)


def test_fid_by_class():
    real, synthetic = reference.features("many")
    real_labels, synthetic_labels = reference.labels("many")
    real_labels[real_labels == 2] = np.where(np.arange(np.sum(real_labels == 2)) < 9, 2, -1)
    found = fid_by_class(
        real, real_labels, synthetic, synthetic_labels, num_classes=5, least=10, block_rows=16
    )
    np.testing.assert_allclose(found.value[:2], ARRAYS["fid_by_class"][:2], rtol=TOLERANCE)
    assert np.isnan(found.value[2:]).all()  # one has 9 real images, the others none
    assert found.real.tolist() == [*np.bincount(real_labels[real_labels >= 0]).tolist(), 0, 0]
    assert found.real[2] == 9
    assert found.synthetic.sum() == np.sum(synthetic_labels >= 0)


@pytest.mark.parametrize("case", reference.CASES)
def test_features_and_their_covariance_give_the_same(case):
    """The factor of few images is made of the features, that of many by Cholesky or eigh."""
    sets = [FeatureSet(values, "real") for values in reference.features(case)]
    by_features = [
        (values.mean(axis=0), (values - values.mean(axis=0)) / np.sqrt(len(values) - 1))
        for values in (each.array.astype(np.float64) for each in sets)
    ]
    expected = frechet_distance(*(fit_gaussian(sets[0])._make(pair) for pair in by_features))
    found = frechet_distance(*(gaussian_of(moments(each)) for each in sets))
    np.testing.assert_allclose(found, expected, rtol=TOLERANCE)


def test_known_gaussians():
    # (1 + 4) + Σ (√a − √b)² of covariances that commute.
    mean, scale = np.zeros(3), np.array([1.0, 2.0, 0.0])
    ours = fit_gaussian(FeatureSet(np.eye(3), "real"))
    first = ours._replace(mean=mean, factor=np.diag(scale))
    second = ours._replace(mean=np.array([1.0, 0, 2]), factor=np.diag([3.0, 2, 5]))
    assert frechet_distance(first, second) == pytest.approx(5 + 4 + 0 + 25, rel=1e-14)


@pytest.mark.parametrize("case", reference.CASES)
def test_a_set_and_itself(case):
    real, _ = reference.features(case)
    assert fid(real, real) < 1e-12
    assert fid(real, real[::-1]) < 1e-12


@pytest.mark.parametrize("count", [5, 100])  # fewer and more than the features
def test_identical_images(count):
    flat = np.full((count, 64), 0.3, np.float32)
    assert fid(flat, flat[:3]) == pytest.approx(0, abs=1e-12)
    assert fid(flat, flat + 2) == pytest.approx(64 * 4, rel=1e-6)  # float32 of 0.3 and 2.3
    real, _ = reference.features("many")
    expected = np.square(real - flat[:1]).sum(dtype=np.float64) / len(real)
    deviations = real - real.mean(axis=0, dtype=np.float64)
    expected += np.square(deviations).sum() * (1 / (len(real) - 1) - 1 / len(real))
    assert fid(real, flat) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("case", ["few", "many"])
def test_the_block_size_is_of_no_influence(case):
    sets = reference.features(case)
    np.testing.assert_allclose(fid(*sets, block_rows=7), fid(*sets), rtol=1e-12)


def test_features_on_the_disk(tmp_path):
    real, synthetic = reference.features("many")
    np.save(tmp_path / "real.npy", real)
    stored = np.load(tmp_path / "real.npy", mmap_mode="r")
    assert fid(stored, synthetic, block_rows=32) == fid(real, synthetic, block_rows=32)


def sampling(real: int, synthetic: int, width: int) -> tuple[float, float]:
    """Standard deviation of FID over 40 repetitions, and the standard error as estimated."""
    estimates = []
    scale = np.arange(1, width + 1) ** -0.5
    for repetition in range(40):
        rng = np.random.default_rng(repetition)
        sets = [rng.standard_normal((count, width)) * scale for count in (real, synthetic)]
        estimates.append(fid_estimate(sets[0], 1.2 * sets[1] + 0.2 * scale, groups=20))
    values = np.array([estimate.value for estimate in estimates])
    errors = np.array([(estimate.high - estimate.low) / 2 / 1.96 for estimate in estimates])
    return values.std(ddof=1), np.sqrt(np.mean(errors**2))


@pytest.mark.parametrize(
    ("real", "synthetic", "width"),
    [(200, 200, 16), (400, 100, 16), (40, 40, 64), (60, 200, 64), (68, 68, 64)],
)
def test_the_standard_error_is_that_of_repeated_draws(real, synthetic, width):
    """More images than features, fewer, one of each, and fewer only while a group is left out.

    A deviation over 40 draws is itself known to 11 %, and the jackknife errs on the large side.
    """
    true, estimated = sampling(real, synthetic, width)
    assert 0.75 < estimated / true < 1.5


def test_the_interval_is_around_the_fid():
    sets = reference.features("many")
    found = fid_estimate(*sets, groups=10, seed=3)
    assert found.value == pytest.approx(fid(*sets), rel=1e-12)
    assert found.high - found.value == pytest.approx(found.value - found.low)
    assert 0.01 < found.high - found.value < 0.5
    assert fid_estimate(*sets, groups=10, seed=3, block_rows=7) == pytest.approx(found, rel=1e-9)
    assert fid_estimate(*sets, groups=10, seed=4).high != found.high


def test_variants_of_a_seed_are_left_out_together():
    real, synthetic = reference.features("many")
    seeds = np.arange(50)
    variants = np.repeat(synthetic[:50], 6, axis=0)  # six times the images, no more information
    together = fid_estimate(real, variants, groups=10, synthetic_clusters=np.repeat(seeds, 6))
    alone = fid_estimate(real, variants, groups=10)
    assert together.value == alone.value
    assert together.high - together.low > 1.4 * (alone.high - alone.low)


def test_bad_input():
    real, synthetic = reference.features("few")
    with pytest.raises(
        ValueError, match="FID needs at least 2 images in each set, got 40 real and"
    ):
        fid(real, synthetic[:1])
    with pytest.raises(ValueError, match="64 features, synthetic ones 63"):
        fid(real, synthetic[:, :63])
    with pytest.raises(ValueError, match=r"must be \[images, features\], got \(64,\)"):
        fid(real[0], synthetic)
    for bad in (np.nan, np.inf, 1e20):
        broken = synthetic.copy()
        broken[[17, 20], 3] = bad
        with pytest.raises(ValueError, match="synthetic features: row 17 holds NaN"):
            fid(real, broken, block_rows=4)
        many = np.concatenate([synthetic] * 3 + [broken])
        with pytest.raises(ValueError, match="synthetic features: row 107 holds NaN"):
            fid(real, many, block_rows=4)
    with pytest.raises(ValueError, match="at least 40 synthetic images, got 30"):
        fid_estimate(real, synthetic)
    with pytest.raises(ValueError, match="at least 20 synthetic clusters of images, got 3"):
        fid_estimate(real, synthetic, groups=10, synthetic_clusters=np.arange(30) % 3)
    with pytest.raises(ValueError, match="at least 2 groups"):
        fid_estimate(real, synthetic, groups=1)
    with pytest.raises(ValueError, match=r"30 images, but clusters are \(29,\)"):
        fid_estimate(real, synthetic, groups=10, synthetic_clusters=np.arange(29))
    labels = np.zeros(40, int)
    with pytest.raises(ValueError, match=r"30 synthetic images, but labels are \(40,\)"):
        fid_by_class(real, labels, synthetic, labels, num_classes=1)
    with pytest.raises(ValueError, match="least=1"):
        fid_by_class(real, labels, synthetic, labels[:30], num_classes=1, least=1)
    with pytest.raises(ValueError, match="block_rows must be at least 1"):
        fid(np.tile(real, (2, 1)), synthetic, block_rows=0)

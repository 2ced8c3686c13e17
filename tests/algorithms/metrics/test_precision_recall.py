"""Precision, recall, density and coverage against prdc and against all distances in float64."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from dreamda_jax.algorithms.metrics.precision_recall import precision_recall
from tests.reference import make_distribution_metrics as reference
from tests.support.paths import REFERENCE

ARRAYS = np.load(REFERENCE / "distribution_metrics.npz")


def by_definition(real, synthetic, *, k):
    real, synthetic = real.astype(np.float64), synthetic.astype(np.float64)
    # The smallest distance is that of an image to itself.
    radii = [np.sort(cdist(x, x), axis=1)[:, k] for x in (real, synthetic)]
    distances = cdist(real, synthetic)
    in_real, in_synthetic = distances < radii[0][:, None], distances < radii[1]
    return {
        "precision": in_real.any(axis=0),
        "recall": in_synthetic.any(axis=1),
        "density": in_real.sum(axis=0) / k,
        "coverage": in_real.any(axis=1),
    }


def assert_equal(found, expected):
    for name, values in expected.items():
        np.testing.assert_array_equal(getattr(found, name), values, err_msg=name)


@pytest.mark.parametrize("case", reference.CASES)
@pytest.mark.parametrize("k", reference.KS)
def test_the_means_are_those_of_prdc(case, k):
    found = precision_recall(*reference.features(case), k=k)
    means = [np.mean(values) for values in found]
    # In the order of PrecisionRecall; all are counts divided by counts.
    np.testing.assert_allclose(means, ARRAYS[f"{case}/prdc_{k}"], rtol=1e-12)


@pytest.mark.parametrize("block_rows", [64, 150, 2048])
def test_every_image_whatever_the_blocks(block_rows):
    sets = reference.features("many")
    found = precision_recall(*sets, k=4, block_rows=block_rows)
    assert_equal(found, by_definition(*sets, k=4))
    assert found.precision.dtype == found.recall.dtype == found.coverage.dtype == bool


def test_copies_lie_on_the_surfaces_of_balls():
    """The distance to a copy of the k-th neighbour equals the radius: float32 cannot tell."""
    real, _ = reference.features("many")
    real = real[:60]
    copies = real[10:50]
    for offset in (0, 100):
        sets = real + np.float32(offset), copies + np.float32(offset)
        found = precision_recall(*sets, k=3, block_rows=32)
        assert_equal(found, by_definition(*sets, k=3))
    assert found.precision.all()
    assert found.coverage[10:50].all()


def test_what_fills_up_a_block_is_no_image():
    """It is at the origin, within the balls of real images that no synthetic one is near."""
    rng = np.random.default_rng(0)
    real = rng.standard_normal((21, 2)).astype(np.float32)
    synthetic = real[:9] + 10
    found = precision_recall(real, synthetic, k=3, block_rows=16)
    assert_equal(found, by_definition(real, synthetic, k=3))
    assert not found.coverage.any()
    assert_equal(precision_recall(synthetic, real, k=3), by_definition(synthetic, real, k=3))


def test_far_from_the_origin():
    sets = [values + np.float32(1000) for values in reference.features("few")]
    assert_equal(precision_recall(*sets, k=3), by_definition(*sets, k=3))


def test_identical_images():
    flat = np.full((12, 64), 0.3, np.float32)
    for synthetic in (flat[:8], flat[:8] + 1):
        found = precision_recall(flat, synthetic, k=3)
        assert not any(values.any() for values in found)  # no ball has an inside
    real, _ = reference.features("few")
    found = precision_recall(real, np.tile(real[:1], (9, 1)), k=3)
    assert found.precision.all()
    assert found.coverage[0]
    assert not found.recall.any()


def test_features_on_the_disk(tmp_path):
    sets = reference.features("many")
    np.save(tmp_path / "real.npy", sets[0])
    stored = np.load(tmp_path / "real.npy", mmap_mode="r")
    found = precision_recall(stored, sets[1], block_rows=64)
    assert_equal(found, by_definition(*sets, k=5))


def test_bad_input():
    real, synthetic = reference.features("few")
    with pytest.raises(ValueError, match="k=5 neighbours needs at least 6 images in each set"):
        precision_recall(real, synthetic[:5])
    with pytest.raises(ValueError, match="k must be at least 1"):
        precision_recall(real, synthetic, k=0)
    with pytest.raises(ValueError, match="64 features, synthetic ones 60"):
        precision_recall(real, synthetic[:, :60])
    synthetic[17, 2] = np.inf
    with pytest.raises(ValueError, match="synthetic features: row 17 holds NaN, Inf"):
        precision_recall(real, synthetic, block_rows=8)

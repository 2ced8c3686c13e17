"""Distances within groups against scipy's; CLIP scores against numpy."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from dreamda_jax.algorithms.metrics.clip_score import clip_scores
from dreamda_jax.algorithms.metrics.diversity import distances_within_groups, mean_by_class
from tests.reference import make_distribution_metrics as reference

# Distances in float32 relative to an image of the group: 2e-7 measured.
TOLERANCE = 2e-6


def groups_of(count: int) -> np.ndarray:
    """Ids with gaps, groups of 1 to many images in no order, one image in ten without a group."""
    rng = np.random.default_rng(0)
    ids = np.array([3, 7, 8, 20, 21, 30])
    chosen = ids[np.minimum(rng.geometric(0.4, count) - 1, 4)]
    chosen[5] = 30
    chosen[::10] = -1
    return chosen


@pytest.mark.parametrize("block_rows", [16, 64, 1024])
def test_mean_distance_of_all_pairs(block_rows):
    features, _ = reference.features("many")
    groups = groups_of(len(features))
    found = distances_within_groups(features, groups, name="real", block_rows=block_rows)
    assert found.group.tolist() == [3, 7, 8, 20, 21, 30]
    for group, images, distance in zip(*found, strict=True):
        own = features[groups == group].astype(np.float64)
        assert images == len(own)
        if group == 30:
            assert images == 1
            assert np.isnan(distance)
        else:
            np.testing.assert_allclose(distance, pdist(own).mean(), rtol=TOLERANCE)


def test_small_differences_far_from_the_origin(tmp_path):
    """Variants that differ by 1e-3 of the distance between seeds, and some that do not differ."""
    rng = np.random.default_rng(1)
    seeds = 100 + rng.standard_normal((30, 64)) * 10
    variants = np.repeat(seeds, 4, axis=0) + 0.01 * rng.standard_normal((120, 64))
    variants[:4] = variants[0]
    np.save(tmp_path / "variants.npy", variants.astype(np.float32))
    stored = np.load(tmp_path / "variants.npy", mmap_mode="r")
    groups = np.repeat(np.arange(30), 4)
    found = distances_within_groups(stored, groups, name="synthetic", block_rows=50)
    expected = [pdist(stored[groups == group].astype(np.float64)).mean() for group in range(30)]
    assert found.distance[0] == 0
    np.testing.assert_allclose(found.distance, expected, rtol=TOLERANCE)


def test_mean_by_class():
    features, _ = reference.features("few")
    groups = np.array([0, 0, 1, 1, 2, 2, 3] + [-1] * 33)
    found = distances_within_groups(features, groups, name="synthetic")
    means = mean_by_class(found, np.array([2, 0, 2, 1]), num_classes=4)
    expected = [found.distance[1], np.nan, (found.distance[0] + found.distance[2]) / 2, np.nan]
    np.testing.assert_allclose(means, expected, rtol=1e-14)
    with pytest.raises(ValueError, match=r"4 groups, but classes are \(3,\)"):
        mean_by_class(found, np.array([2, 0, 2]), num_classes=3)
    with pytest.raises(ValueError, match=r"must be in \[0, 2\)"):
        mean_by_class(found, np.array([1, 0, 2, 1]), num_classes=2)


def test_bad_groups():
    features, _ = reference.features("few")
    with pytest.raises(ValueError, match="with a group for each image"):
        distances_within_groups(features, np.zeros(39, int), name="real")
    with pytest.raises(ValueError, match="no real image is of any group"):
        distances_within_groups(features, np.full(40, -1), name="real")
    features[17, 0] = np.nan
    with pytest.raises(ValueError, match="real features: row 17 holds NaN"):
        distances_within_groups(features, 100 - np.arange(40), name="real", block_rows=8)


def test_clip_scores():
    images, prompts = (reference.unit(values - 0.4) for values in reference.features("few"))
    prompt_of = np.arange(40) % 3
    found = clip_scores(images, prompts, prompt_of, block_rows=16)
    cosines = [image @ prompts[which] for image, which in zip(images, prompt_of, strict=True)]
    assert min(cosines) < 0
    np.testing.assert_allclose(found, 100 * np.maximum(cosines, 0), rtol=1e-5, atol=1e-5)
    assert clip_scores(images, images, np.arange(40)) == pytest.approx(100, rel=1e-6)


def test_bad_embeddings():
    images, prompts = (reference.unit(values) for values in reference.features("few"))
    which = np.zeros(40, int)
    with pytest.raises(ValueError, match="prompt embeddings must have length 1, row 3 has"):
        clip_scores(images, prompts * np.linspace(1, 1.01, 30)[:, None], which)
    with pytest.raises(ValueError, match=r"prompt_of must be in \[0, 30\), got 0 to 30"):
        clip_scores(images, prompts, np.minimum(np.arange(40), 30))
    with pytest.raises(ValueError, match=r"40 images, but prompt_of is \(30,\)"):
        clip_scores(images, prompts, which[:30])
    with pytest.raises(ValueError, match="matrices of one width"):
        clip_scores(images, prompts[:, :60], which)
    with pytest.raises(ValueError, match="no CLIP score of 40 images and 0 prompts"):
        clip_scores(images, prompts[:0], which)
    images[4] = np.nan
    with pytest.raises(ValueError, match="image features: row 4 holds NaN"):
        clip_scores(images, prompts, which)

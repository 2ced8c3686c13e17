"""CutMix and mixup: what pixels and targets say must agree, and be drawn as torchvision draws."""

import functools

import jax
import numpy as np
import pytest

from dreamda_jax.algorithms.augment.mixing import cutmix, cutmix_or_mixup, mixup
from tests.support.paths import REFERENCE

ARRAYS = np.load(REFERENCE / "augment.npz")
BATCH, HEIGHT, WIDTH = 4, 32, 48
# Image i is all i and its target is class i: a pixel tells which rows it is made of.
IMAGES = np.broadcast_to(
    np.arange(BATCH, dtype=np.float32)[:, None, None, None], (BATCH, HEIGHT, WIDTH, 1)
)
TARGETS = np.eye(BATCH, dtype=np.float32)
KEYS = jax.random.split(jax.random.key(0), 1000)


@functools.cache
def compiled(mix):
    return jax.jit(lambda options: jax.vmap(lambda key: mix(key, IMAGES, TARGETS, **options))(KEYS))


def many(mix, **options):
    """The results of a thousand keys: pixels [n, b, h, w], targets [n, b, classes]."""
    images, targets = compiled(mix)(options)
    return np.asarray(images)[..., 0], np.asarray(targets)


def assert_targets_are_shared(targets):
    np.testing.assert_allclose(targets.sum(-1), 1, atol=1e-6)
    # Partners are a permutation: each image is used as often as it gives way.
    np.testing.assert_allclose(targets.sum(-2), 1, atol=1e-6)


@pytest.fixture(scope="module")
def cut():
    return many(cutmix, alpha=1.0)


def test_cutmix_shares_equal_the_pasted_area(cut):
    images, targets = cut
    assert images.dtype == targets.dtype == np.float32
    assert_targets_are_shared(targets)
    for label in range(BATCH):
        area = (images == label).mean((-2, -1))
        np.testing.assert_allclose(targets[..., label], area, atol=1e-6)


def test_cutmix_pastes_one_box_for_the_batch_drawn_as_torchvision_draws_it(cut):
    images, _ = cut
    pasted = (images != np.arange(BATCH)[:, None, None]).any(1)
    boxes = np.stack([pasted.any(2).sum(1), pasted.any(1).sum(1)], 1)
    np.testing.assert_array_equal(pasted.sum((1, 2)), boxes.prod(1))
    # Partner and image are the same in all four rows once in 24: no box can be seen.
    expected = ARRAYS["draws_cutmix"][:, 2:].astype(int)
    expected[expected.prod(1) == 0] = 0
    seen, visible = boxes[boxes.prod(1) > 0], expected[expected.prod(1) > 0]
    for ours, reference in [*zip(seen.T, visible.T, strict=True), (seen.prod(1), visible.prod(1))]:
        values = np.union1d(ours, reference)
        shares = [
            np.searchsorted(np.sort(side), values, "right") / len(side)
            for side in (ours, reference)
        ]
        # Kolmogorov and Smirnov at a chance of 0.001.
        limit = 1.95 * np.sqrt(1 / len(ours) + 1 / len(reference))
        assert np.abs(shares[0] - shares[1]).max() < limit
    empty = 1 / 24 + 23 / 24 * np.mean(expected.prod(1) == 0)
    assert abs(np.mean(boxes.prod(1) == 0) - empty) < 5 * np.sqrt(empty / 1000)


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_mixup_weighs_pixels_and_targets_alike(alpha):
    images, targets = many(mixup, alpha=alpha, probability=1.0)
    assert_targets_are_shared(targets)
    assert (images == images[..., :1, :1]).all()
    np.testing.assert_allclose(images[..., 0, 0], targets @ np.arange(BATCH), atol=1e-6)
    # Rows whose partner is not themselves show the weight: Beta(alpha, alpha).
    share = np.diagonal(targets, axis1=1, axis2=2).min(1)
    share = share[np.abs(targets - np.eye(BATCH)).max((1, 2)) > 0]
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(share.mean() - 0.5) < 5 * np.sqrt(variance / len(share))
    assert abs(share.var() - variance) < 0.03
    # One draw for the batch: a row's weight is that draw, or 1 where it is its own partner.
    weights = np.diagonal(targets, axis1=1, axis2=2)
    assert (np.isclose(weights, weights.min(1, keepdims=True)) | np.isclose(weights, 1)).all()


def test_probability_is_that_of_the_batch():
    _, targets = many(mixup, alpha=1.0, probability=0.5)
    mixed = np.abs(targets - np.eye(BATCH)).max((1, 2)) > 0
    assert abs(mixed.mean() - 0.5 * 23 / 24) < 0.08  # five standard deviations


def test_each_batch_gets_one_of_both():
    images, targets = many(cutmix_or_mixup, cutmix_alpha=1.0, mixup_alpha=1.0)
    assert_targets_are_shared(targets)
    np.testing.assert_allclose(images.mean((-2, -1)), targets @ np.arange(BATCH), atol=1e-5)
    is_cut = (images == np.round(images)).all((1, 2, 3))
    mixed = np.abs(targets - np.eye(BATCH)).max((1, 2)) > 0
    assert abs(is_cut[mixed].mean() - 0.5) < 0.08  # five standard deviations


def test_partners_are_any_permutation(cut):
    _, targets = cut
    partners = np.where(np.eye(BATCH, dtype=bool), 0, targets)
    whole = (partners.max(-1) > 0).all(1)  # every row has another for a partner
    # 9 of the 24 permutations of four leave nobody in place; few boxes are empty.
    assert abs(whole.mean() - 9 / 24) < 0.08 + 0.06
    orders = np.unique(partners[whole].argmax(-1), axis=0)
    assert len(orders) == 9

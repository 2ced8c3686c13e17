"""The score of guided imagination against scipy's entropies, and its gradient's direction."""

import jax
import numpy as np
import pytest
from scipy import special, stats

from dreamda_jax.algorithms.diffusion import imagination


def features(seed, *shape):
    drawn = np.random.default_rng(seed).normal(size=shape)
    return drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)


def by_scipy(made, seed, classes, scale):
    """[n]: of the images of one seed, every term by scipy, in float64."""
    of_seed = special.softmax(scale * classes @ seed)
    mean = special.softmax(made.mean(axis=0))
    scores = []
    for image in made:
        of_image = special.softmax(scale * classes @ image)
        diverse = stats.entropy(special.softmax(image), mean)  # the Kullback-Leibler divergence
        informative = stats.entropy(of_image) - stats.entropy(of_seed)
        scores.append(of_image[np.argmax(of_seed)] + informative + diverse)
    return np.array(scores)


@pytest.mark.parametrize("scale", [1.0, 10.0, 100.0])
def test_score_against_scipy(scale):
    made, seeds, classes = features(0, 2, 4, 16), features(1, 2, 16), features(2, 5, 16)
    arrays = [np.float32(x) for x in (made, seeds, classes)]
    found = imagination.score(*arrays, np.float32(scale))
    assert found.shape == (2, 4)
    expected = [by_scipy(m, s, classes, scale) for m, s in zip(made, seeds, strict=True)]
    # float32; logits of up to `scale` are rounded to 1e-7 of themselves.
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-5)


def test_score_keeps_the_class_and_wants_doubt_and_variety():
    classes = np.eye(3, 8)
    seed = classes[0]
    same = np.stack([classes[0]] * 2)
    other = np.stack([classes[0], classes[1]])
    of_same = np.asarray(imagination.score(same, seed, classes, 20.0))
    of_other = np.asarray(imagination.score(other, seed, classes, 20.0))
    np.testing.assert_allclose(of_same, 1, atol=1e-5)  # the seed itself: p = 1, nothing new
    assert of_other[1] < of_same[1] - 0.5  # an image of another class
    doubtful = np.stack([classes[0] + 0.9 * classes[1]] * 2)
    assert (np.asarray(imagination.score(doubtful, seed, classes, 5.0)) > 1).all()


def test_gradient_of_the_summed_score_against_finite_differences():
    made, seed, classes = features(3, 3, 6), features(4, 6), features(5, 4, 6)

    def total(x):
        return imagination.score(x, np.float32(seed), np.float32(classes), np.float32(7)).sum()

    found = np.asarray(jax.grad(total)(np.float32(made)))
    expected = np.zeros_like(made)
    step = 1e-6
    for place in np.ndindex(made.shape):
        for sign in (1, -1):
            moved = made.copy()
            moved[place] += sign * step
            expected[place] += sign * by_scipy(moved, seed, classes, 7).sum() / (2 * step)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_perturbation_and_projection():
    latents = np.float32(features(6, 2, 4, 3, 3))
    gain, bias = np.full((2, 4, 1, 1), 0.5, np.float32), np.zeros((2, 4, 1, 1), np.float32)
    bias[:, 2] = 9
    moved = imagination.perturbed(latents, gain, bias)
    np.testing.assert_allclose(moved[:, 0], 1.5 * latents[:, 0], rtol=1e-6)
    np.testing.assert_allclose(moved[:, 2], 1.5 * latents[:, 2] + 9, rtol=1e-6)
    kept = np.asarray(imagination.project(moved, latents, 0.25))
    assert np.abs(kept - latents).max() <= 0.25 + 1e-6
    np.testing.assert_allclose(kept[:, 2], latents[:, 2] + 0.25, rtol=1e-6)
    inside = np.abs(np.asarray(moved) - latents) <= 0.25
    assert inside.any()
    np.testing.assert_array_equal(kept[inside], np.asarray(moved)[inside])

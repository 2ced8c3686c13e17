"""Copies planted among the packaged sample's images are found, and its other images are not taken
for copies: the figures of the docstring of `algorithms.metrics.copies`, with its defaults."""

import functools
import io

import jax
import numpy as np
import pytest
from PIL import Image

from dreamda_jax.algorithms.augment.policy import eval_view
from dreamda_jax.algorithms.metrics.copies import (
    Fingerprints,
    HashMatches,
    find_copies,
    match_hashes,
    typical_spacing,
)
from dreamda_jax.algorithms.metrics.neighbours import (
    NO_HASH,
    NO_MATCH,
    Neighbours,
    nearest_hashes,
    nearest_neighbours,
)
from dreamda_jax.data.perceptual_hash import fingerprint
from dreamda_jax.data.sources.sample_source import SampleSource
from dreamda_jax.models.classifiers.pretrained import open_classifier
from tests.support.paths import SAMPLE


@functools.cache
def images(split: str) -> np.ndarray:
    return np.stack([example.content for example in SampleSource(split=split)])


def fingerprints(pixels) -> Fingerprints:
    hashes, mirrored, thumbnails = zip(*map(fingerprint, pixels), strict=True)
    return Fingerprints(np.array(hashes), np.array(mirrored), np.stack(thumbnails))


@functools.cache
def of_split(split: str) -> Fingerprints:
    return fingerprints(images(split))


@functools.cache
def spacing() -> float:
    thumbnails = of_split("train").thumbnails
    return typical_spacing(nearest_neighbours(thumbnails, thumbnails, exclude_self=True).distances)


def jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file))


def far(n: int) -> Neighbours:
    """Features that are near nothing."""
    return Neighbours(np.full((n, 1), np.inf), np.full((n, 1), 0))


def by_hash(synthetic: Fingerprints):
    """What the hashes alone say."""
    return find_copies(
        far(len(synthetic.hashes)),
        match_hashes(synthetic, of_split("train")),
        feature_spacing=0.0,
        thumbnail_spacing=spacing(),
    )


PLANTED = {
    "identical": lambda image: image,
    "mirrored": lambda image: image[:, ::-1],
    "jpeg 75": lambda image: jpeg(image, 75),
    "jpeg 50": lambda image: jpeg(image, 50),
    "mirrored jpeg 75": lambda image: jpeg(np.ascontiguousarray(image[:, ::-1]), 75),
    "brighter": lambda image: np.minimum(image * 1.1 + 5, 255).astype(np.uint8),
    "enlarged": lambda image: np.array(Image.fromarray(image).resize((96, 96))),
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted_copies_are_found(name):
    found = by_hash(fingerprints([PLANTED[name](image) for image in images("train")]))
    assert found.flagged.all()
    assert found.real.tolist() == list(range(200))
    reason = "mirrored hash" if name.startswith("mirrored") else "hash"
    assert set(found.reason) == {reason}


def test_other_images_are_not_copies():
    others = of_split("test")
    found = by_hash(others)
    assert found.flagged.sum() <= 1
    # Hashes alone would not do, and the mirror images do not add to it.
    nearest = nearest_hashes(others.hashes, of_split("train").hashes)
    assert (nearest.distances <= 4).sum() > 300
    assert "mirrored hash" not in found.reason
    assert (found.real[~found.flagged] == -1).all()
    assert set(found.reason[~found.flagged]) == {""}


def test_a_symmetric_image_is_copied_as_it_is():
    half = images("train")[:3, :, :16]
    symmetric = fingerprints(np.concatenate([half, half[:, :, ::-1]], axis=2))
    found = match_hashes(symmetric, symmetric)
    assert not found.mirrored.any()
    assert found.indices.tolist() == [0, 1, 2]


@pytest.mark.slow
def test_features_of_the_oracle():
    # The scale that the docstring of `find_copies` gives for its default, on a real network.
    module, variables, config = open_classifier(SAMPLE / "oracle")

    @jax.jit
    def pooled(images):
        view = eval_view(images, size=config.image_size, mean=config.mean, std=config.std)
        return module.apply(variables, view, train=False, return_features=True)[1]

    real = np.asarray(pooled(images("train")))
    scale = typical_spacing(nearest_neighbours(real, real, exclude_self=True).distances)

    def near(pixels):
        return nearest_neighbours(np.asarray(pooled(pixels)), real).distances <= 0.2 * scale

    assert near(images("train")).all()
    assert not any(near(part).any() for part in np.split(images("validation"), 5))
    assert near(np.stack([jpeg(image, 90) for image in images("train")])).mean() > 0.95


def test_the_right_one_of_many_with_one_hash():
    # Real images that share their hash: the thumbnail decides, whatever their order.
    real = of_split("train")
    alike = real._replace(hashes=np.full(200, real.hashes[0]))
    synthetic = Fingerprints(*(array[10:11] for array in alike))
    found = match_hashes(synthetic, alike, candidates=16)
    assert found.indices == 10
    assert found.hamming == 0
    assert found.thumbnail_distances == 0
    # One candidate is the first, and another image.
    assert match_hashes(synthetic, alike, candidates=1).thumbnail_distances > 0.1


def test_bits_beyond_the_limit_do_not_count():
    real = of_split("train")
    synthetic = Fingerprints(*(array[:3].copy() for array in real))
    synthetic.hashes[0] ^= np.uint64(0b111)
    synthetic.mirrored_hashes[:] = synthetic.hashes[1] = NO_HASH
    found = match_hashes(synthetic, real, max_hamming=2)
    assert found.indices.tolist() == [-1, -1, 2]
    assert found.hamming.tolist() == [NO_MATCH, NO_MATCH, 0]
    assert found.thumbnail_distances.tolist() == [np.inf, np.inf, 0]
    assert match_hashes(synthetic, real, max_hamming=3).hamming.tolist() == [3, NO_MATCH, 0]


def test_features_and_hashes_together():
    features = Neighbours(
        np.array([[0.2], [0.21], [0.0], [5.0], [np.inf]]), np.array([[4], [5], [6], [7], [0]])
    )
    hashes = HashMatches(
        thumbnail_distances=np.array([np.inf, 0.31, 0.3, 0.1, np.inf]),
        hamming=np.array([NO_MATCH, 2, 2, 8, NO_MATCH]),
        indices=np.array([-1, 1, 2, 3, -1]),
        mirrored=np.array([False, False, False, True, False]),
    )
    found = find_copies(features, hashes, feature_spacing=1.0, thumbnail_spacing=1.0)
    assert found.flagged.tolist() == [True, False, True, True, False]
    assert found.reason.tolist() == ["features", "", "hash", "mirrored hash", ""]
    assert found.real.tolist() == [4, -1, 2, 3, -1]
    strict = find_copies(
        features,
        hashes,
        feature_spacing=1.0,
        thumbnail_spacing=1.0,
        max_feature_ratio=0.1,
        max_thumbnail_ratio=0.2,
    )
    assert strict.reason.tolist() == ["", "", "features", "mirrored hash", ""]
    assert strict.real.tolist() == [-1, -1, 6, 3, -1]


def test_a_flat_image_is_found_by_its_features():
    # No hash, so only a network can say that two flat images are the same.
    flat = fingerprints([np.full((32, 32, 3), grey, np.uint8) for grey in (10, 200)])
    features = nearest_neighbours(np.array([[1.0], [9.0]]), np.array([[0.0], [9.0]]))
    found = find_copies(
        features, match_hashes(flat, flat), feature_spacing=1.0, thumbnail_spacing=spacing()
    )
    assert found.reason.tolist() == ["", "features"]
    assert found.real.tolist() == [-1, 1]


def test_typical_spacing():
    assert typical_spacing(np.array([[0.0], [3.0], [1.0], [2.0]])) == 2
    assert typical_spacing(np.zeros(3)) == 0
    for bad in (np.zeros(0), np.array([1, np.nan]), np.array([np.inf])):
        with pytest.raises(ValueError, match="spacing of real images"):
            typical_spacing(bad)


def test_without_a_spacing_only_exact_copies_count():
    real = of_split("train")
    changed = fingerprints([jpeg(images("train")[0], 90), images("train")[1]])
    found = find_copies(
        far(2), match_hashes(changed, real), feature_spacing=0.0, thumbnail_spacing=0.0
    )
    assert found.real.tolist() == [-1, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_feature_ratio": -0.1}, "max_feature_ratio must be"),
        ({"max_thumbnail_ratio": np.nan}, "max_thumbnail_ratio must be"),
        ({"feature_spacing": np.inf}, "feature_spacing must be"),
        ({"thumbnail_spacing": -1.0}, "thumbnail_spacing must be"),
        ({"features": far(2)}, "features of 2 images, hashes of 3"),
    ],
)
def test_bad_decisions(change, message):
    hashes = match_hashes(Fingerprints(*(a[:3] for a in of_split("train"))), of_split("train"))
    good = {"features": far(3), "feature_spacing": 1.0, "thumbnail_spacing": 1.0}
    with pytest.raises(ValueError, match=message):
        find_copies(hashes=hashes, **{**good, **change})


def test_bad_fingerprints():
    real = of_split("train")
    few = Fingerprints(*(array[:3] for array in real))
    for synthetic, options, message in (
        (few, {"max_hamming": 65}, "max_hamming must be"),
        (few, {"max_hamming": -1}, "max_hamming must be"),
        (few, {"candidates": 0}, "k must be at least 1"),
        (few._replace(hashes=few.hashes[:2]), {}, r"the same images, got \[2, 3, 3\]"),
        (few._replace(thumbnails=few.thumbnails[:, :8]), {}, "thumbnails must have one shape"),
        (few._replace(hashes=few.hashes.astype(float)), {}, "x must be a uint64"),
        (Fingerprints(*(array[:0] for array in few)), {}, "at least one hash"),
    ):
        with pytest.raises(ValueError, match=message):
            match_hashes(synthetic, real, **options)

"""Which synthetic images are copies of real ones: of training images, or leaks of test images.

Two ways, each with its own evidence and its own scale:

- *hash*: the perceptual hashes of the two images differ in few bits, and the two thumbnails lie
  much nearer to each other than real images lie to their nearest real neighbours. The mirrored
  image is compared likewise.
- *features*: the same of a network's features. They notice what moves pixels and leaves the
  content, as far as the network does.

The scale is the median distance between real images and their nearest real neighbours
(`typical_spacing`), so what counts as a copy does not depend on the network, and less on how alike
the images of a set are. Mirrored images are looked for by hash alone: it finds them all, while
features would have to be computed of all images once more.

Neither finds an image that was moved by several hundredths of its side or cropped, unless the
features are blind to that.

With the defaults, on the packaged sample, whose images look alike: of 5,000 test images 1 is
flagged as a copy of one of the 200 training images (336 would be by hashes that differ in up to 4
bits, without thumbnails); of copies of the 200 as they are, mirrored, as JPEG of quality 75 or 50,
or 10 % brighter, all are found (`tests/algorithms/metrics/test_copies.py`).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt64

from dreamda_jax.algorithms.metrics.neighbours import (
    NO_MATCH,
    Neighbours,
    nearest_hashes,
    pair_distances,
)
from dreamda_jax.types import AnyArray

REASONS = ("hash", "mirrored hash", "features")
"""Why an image is flagged; of several the first."""


class Fingerprints(NamedTuple):
    """Of all images of a set, as `data.perceptual_hash.fingerprint` makes them; memmaps will do."""

    hashes: UInt64[np.ndarray, "n"]
    mirrored_hashes: UInt64[np.ndarray, "n"]
    thumbnails: Float[np.ndarray, "n 16 16"]
    """float32, standardised."""


class HashMatches(NamedTuple):
    """For each of n synthetic images the real one that looks most like it."""

    thumbnail_distances: Float[np.ndarray, "n"]
    """float64, 0 (equal) to 2; infinite if no hash of a real image is near enough."""
    hamming: Int[np.ndarray, "n"]
    """Bits in which the hashes of the pair differ, int64; `NO_MATCH` if there is no pair."""
    indices: Int[np.ndarray, "n"]
    """int64, of the real image; -1 if there is none."""
    mirrored: Bool[np.ndarray, "n"]
    """Whether it is the synthetic image's mirror image that looks like the real one."""


class Copies(NamedTuple):
    """What became of n synthetic images."""

    flagged: Bool[np.ndarray, "n"]
    reason: np.ndarray
    """str [n], one of `REASONS`; "" where not flagged."""
    real: Int[np.ndarray, "n"]
    """int64, index of the real image it is a copy of; -1 where not flagged."""


def typical_spacing(distances: Float[np.ndarray, "m"]) -> float:
    """The median distance of real images to their nearest real neighbours.

    Args:
      distances: as `nearest_neighbours(real, real, exclude_self=True)` gives them. Those of 0 do
        not count: of duplicates within a set, and of flat images among thumbnails.

    Returns:
      0 if all distances are: then only exact copies count as copies.

    Raises:
      ValueError: no distances, or not all finite.
    """
    distances = np.asarray(distances)
    if not distances.size or not np.isfinite(distances).all():
        raise ValueError("the spacing of real images needs finite distances of at least one image")
    apart = distances[distances > 0]
    return float(np.median(apart)) if apart.size else 0.0


def match_hashes(
    synthetic: Fingerprints, real: Fingerprints, *, max_hamming: int = 8, candidates: int = 16
) -> HashMatches:
    """Finds for each synthetic image the real one it may be a copy of, mirrored or not.

    Several real images can have nearly the same hash, so the thumbnails of the nearest few are
    compared, and the most similar one is taken; as it is rather than mirrored if both are equal.

    Args:
      synthetic: of n images.
      real: of m images.
      max_hamming: bits of 64 in which hashes of a pair may differ. Recompression as JPEG of quality
        50 changes up to 8; unrelated hashes differ in 32 on average.
      candidates: hashes compared by thumbnail, for each orientation.

    Raises:
      ValueError: no images; hashes that are not uint64; thumbnails of different shapes or not as
        many as hashes; `max_hamming` not in [0, 64]; `candidates` below 1.
    """
    if not 0 <= max_hamming < NO_MATCH:
        raise ValueError(f"max_hamming must be between 0 and 64, got {max_hamming}")
    for prints in (synthetic, real):
        lengths = [len(array) for array in prints]
        if len(set(lengths)) > 1:
            raise ValueError(f"hashes and thumbnails must be of the same images, got {lengths}")
    if synthetic.thumbnails.shape[1:] != real.thumbnails.shape[1:]:
        raise ValueError(
            f"thumbnails must have one shape, got {synthetic.thumbnails.shape} and "
            f"{real.thumbnails.shape}"
        )
    straight = _most_similar(
        synthetic.hashes, synthetic.thumbnails, real, max_hamming=max_hamming, candidates=candidates
    )
    mirrored = _most_similar(
        synthetic.mirrored_hashes,
        synthetic.thumbnails[:, :, ::-1],
        real,
        max_hamming=max_hamming,
        candidates=candidates,
    )
    is_mirrored = mirrored.thumbnail_distances < straight.thumbnail_distances
    return HashMatches(
        np.where(is_mirrored, mirrored.thumbnail_distances, straight.thumbnail_distances),
        np.where(is_mirrored, mirrored.hamming, straight.hamming),
        np.where(is_mirrored, mirrored.indices, straight.indices),
        is_mirrored,
    )


def find_copies(
    features: Neighbours,
    hashes: HashMatches,
    *,
    feature_spacing: float,
    thumbnail_spacing: float,
    max_feature_ratio: float = 0.2,
    max_thumbnail_ratio: float = 0.3,
) -> Copies:
    """Decides which synthetic images are copies, and of which real image.

    Args:
      features: of n synthetic images the nearest real ones by a network's features; only the first
        column is used.
      hashes: `match_hashes` of the same images.
      feature_spacing: `typical_spacing` of the real images' features.
      thumbnail_spacing: `typical_spacing` of their thumbnails.
      max_feature_ratio: an image is a copy if its distance is at most this times the spacing. By
        the packaged oracle's features no validation image comes that near to a training image, and
        almost all JPEG copies of quality 90 do.
      max_thumbnail_ratio: likewise, of thumbnails of images with matching hashes.

    Raises:
      ValueError: different numbers of images; a spacing or a ratio that is negative or not finite.
    """
    given = {
        "feature_spacing": feature_spacing,
        "thumbnail_spacing": thumbnail_spacing,
        "max_feature_ratio": max_feature_ratio,
        "max_thumbnail_ratio": max_thumbnail_ratio,
    }
    for name, value in given.items():
        if not (np.isfinite(value) and value >= 0):
            raise ValueError(f"{name} must be a finite number of at least 0, got {value}")
    if len(features.distances) != len(hashes.indices):
        raise ValueError(
            f"features of {len(features.distances)} images, hashes of {len(hashes.indices)}"
        )
    looks_alike = hashes.thumbnail_distances <= max_thumbnail_ratio * thumbnail_spacing
    near = features.distances[:, 0] <= max_feature_ratio * feature_spacing
    cases = [looks_alike & ~hashes.mirrored, looks_alike & hashes.mirrored, near]
    return Copies(
        flagged=looks_alike | near,
        reason=np.select(cases, REASONS, ""),
        real=np.select(cases, (hashes.indices, hashes.indices, features.indices[:, 0]), -1),
    )


def _most_similar(
    hashes: UInt64[np.ndarray, "n"],
    thumbnails: Float[AnyArray, "n 16 16"],
    real: Fingerprints,
    *,
    max_hamming: int,
    candidates: int,
) -> HashMatches:
    """Of images in one orientation, which none calls mirrored yet."""
    bits, indices = nearest_hashes(hashes, real.hashes, k=candidates)
    indices = np.where(bits <= max_hamming, indices, -1)
    bits = np.where(indices >= 0, bits, NO_MATCH)
    distances = pair_distances(thumbnails, real.thumbnails, indices)
    # Of equally similar ones the nearest by hash, which come first.
    best = np.argmin(distances, axis=1)[:, None]
    distances, bits, indices = (
        np.take_along_axis(array, best, axis=1)[:, 0] for array in (distances, bits, indices)
    )
    return HashMatches(distances, bits, indices, np.zeros(len(hashes), bool))

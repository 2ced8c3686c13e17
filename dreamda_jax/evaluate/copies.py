"""Synthetic images that are copies of training images, or of test images."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dreamda_jax.algorithms.metrics import copies
from dreamda_jax.algorithms.metrics.neighbours import (
    Neighbours,
    nearest_neighbours,
    pair_distances,
)
from dreamda_jax.evaluate.networks import FINGERPRINTS
from dreamda_jax.evaluate.pictures import Pictures
from dreamda_jax.options.evaluate import Evaluate
from dreamda_jax.runtime.sweep import Swept

_SHOWN_FLAGGED, _SHOWN_NEAREST = 24, 8


class Search(NamedTuple):
    """What became of the search in one set.

    Attributes:
      summary: for the report: "compared", "flagged", "rule", "pairs" (those shown).
      flagged: every flagged pair, for machines.
    """

    summary: dict[str, Any]
    flagged: list[dict[str, Any]]


def search(
    synthetic: Swept,
    others: Swept,
    *,
    which: str,
    features: str,
    label_names: Sequence[str],
    options: Evaluate,
    pictures: Pictures,
) -> Search:
    """Compares every synthetic image with every image of another set.

    Args:
      synthetic: the images to judge, with `FINGERPRINTS` and `features`.
      others: the images they may be copies of.
      which: "real" or "test".
      features: which channel distances are of.
      label_names: the classes.
      options: how near a copy is.
      pictures: where pairs that are shown are read.

    Raises:
      ValueError: a set without images.
    """
    prints = [_fingerprints(swept) for swept in (synthetic, others)]
    hashes = copies.match_hashes(*prints, max_hamming=options.max_hamming)
    values = synthetic.features[features].values, others.features[features].values
    near = nearest_neighbours(*values)
    spacing = _spacing(values[1])
    found = copies.find_copies(
        near,
        hashes,
        feature_spacing=spacing,
        thumbnail_spacing=_spacing(prints[1].thumbnails),
        max_feature_ratio=options.max_feature_ratio,
        max_thumbnail_ratio=options.max_thumbnail_ratio,
    )
    rows = _Pairs(
        label_names=label_names,
        synthetic=synthetic,
        others=others,
        features=values,
        near=near,
        hashes=hashes,
        found=found,
    )
    order = np.argsort(near.distances[:, 0], kind="stable")
    first = order[found.flagged[order]][:_SHOWN_FLAGGED]
    rest = order[~found.flagged[order]][:_SHOWN_NEAREST]
    summary = {
        "compared": len(synthetic.places),
        "flagged": int(found.flagged.sum()),
        "rule": (
            f"Flagged: perceptual hashes (as it is or mirrored) differ in at most "
            f"{options.max_hamming} of 64 bits and thumbnails are within "
            f"{options.max_thumbnail_ratio:g} of the usual distance between neighbouring {which} "
            f"images, or features are within {options.max_feature_ratio:g} of it "
            f"({spacing:.3g})."
        ),
        "pairs": [rows.shown(int(row), pictures, which) for row in (*first, *rest)],
    }
    return Search(summary, [rows.pair(int(row)) for row in np.flatnonzero(found.flagged)])


class _Pairs(NamedTuple):
    label_names: Sequence[str]
    synthetic: Swept
    others: Swept
    features: tuple[np.ndarray, np.ndarray]
    near: Neighbours
    hashes: copies.HashMatches
    found: copies.Copies

    def pair(self, row: int) -> dict[str, Any]:
        """A synthetic image and the one it is a copy of, or the nearest."""
        partner = self.partner(row)
        made, other = self.place(row), int(self.others.places[partner])
        flagged = bool(self.found.flagged[row])
        by_hash = partner == self.hashes.indices[row]
        return {
            "synthetic": self.synthetic.source[made].name,
            "real": self.others.source[other].name,
            "class": self.label_names[self.synthetic.labels[made]],
            "feature_distance": float(
                pair_distances(
                    self.features[0][row : row + 1], self.features[1], np.array([[partner]])
                )[0, 0]
            ),
            "hash_distance": int(self.hashes.hamming[row]) if by_hash else None,
            "mirrored": bool(flagged and self.found.reason[row] == "mirrored hash"),
            "flagged": flagged,
            "why": str(self.found.reason[row]),
        }

    def shown(self, row: int, pictures: Pictures, which: str) -> dict[str, Any]:
        """The same with the keys of both pictures."""
        other = int(self.others.places[self.partner(row)])
        return {
            **self.pair(row),
            "synthetic_image": pictures.key("synthetic", self.place(row)),
            "real_image": pictures.key(which, other),
        }

    def place(self, row: int) -> int:
        return int(self.synthetic.places[row])

    def partner(self, row: int) -> int:
        if self.found.flagged[row]:
            return int(self.found.real[row])
        return int(self.near.indices[row, 0])


def _fingerprints(swept: Swept) -> copies.Fingerprints:
    values: Mapping[str, Any] = swept.features[FINGERPRINTS].values  # type: ignore[assignment]
    return copies.Fingerprints(values["hash"], values["mirrored_hash"], values["thumbnail"])


def _spacing(values: np.ndarray) -> float:
    """Between neighbouring images of a set; 0 for a single image: only exact copies count."""
    if len(values) < 2:
        return 0.0
    return copies.typical_spacing(
        nearest_neighbours(values, values, exclude_self=True).distances[:, 0]
    )

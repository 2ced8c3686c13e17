"""How good labels are, and what became of each class when images were accepted or rejected.

Of n images and c classes; a label of -1 is none. Plain numpy: all of a set's labels fit on a host.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int


class Acceptance(NamedTuple):
    """Numbers of images by the class of their seed, int64."""

    total: Int[np.ndarray, "c"]
    unchanged: Int[np.ndarray, "c"]
    """Accepted with the seed's class."""
    changed: Int[np.ndarray, "c"]
    """Accepted with another class."""
    rejected: Int[np.ndarray, "c"]
    changes: Int[np.ndarray, "c c"]
    """Row the seed's class, column the accepted one; its diagonal is `unchanged`."""


class Rejections(NamedTuple):
    """Numbers of rejected images by what spoke against them; they add up to all that are."""

    disagree: int
    """Only that the heads named different classes."""
    uncertain: int
    """Only the uncertainty."""
    both: int
    undecodable: int
    """The image could not be read, so nothing else was asked."""
    other: int
    """None of these: a method with other conditions, or an edit by hand."""


def label_precision(
    labels: Int[np.ndarray, "n"],
    reference: Int[np.ndarray, "n"],
    mask: Bool[np.ndarray, "n"] | None = None,
) -> float:
    """Share of the images whose label is the reference's, in [0, 1]; NaN if there is no image.

    Args:
      labels: to judge; images without one (-1) do not count.
      reference: likewise.
      mask: which images to look at; None: all.
    """
    counted = (labels >= 0) & (reference >= 0)
    if mask is not None:
        counted &= mask
    return float(np.mean((labels == reference)[counted])) if counted.any() else float("nan")


def acceptance(
    seed_label: Int[np.ndarray, "n"], pseudo_label: Int[np.ndarray, "n"], *, num_classes: int
) -> Acceptance:
    """Counts images by the class of their seed.

    Args:
      seed_label: in [0, c).
      pseudo_label: in [0, c) where accepted, else -1.
      num_classes: c.
    """
    total = np.bincount(seed_label, minlength=num_classes)
    accepted = pseudo_label >= 0
    pairs = seed_label[accepted].astype(np.int64) * num_classes + pseudo_label[accepted]
    changes = np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)
    unchanged = np.diag(changes).copy()
    kept = changes.sum(axis=1)
    return Acceptance(total, unchanged, kept - unchanged, total - kept, changes)


def rejections(
    predictions: Int[np.ndarray, "n k"],
    uncertainty: Float[np.ndarray, "n"],
    decoded: Bool[np.ndarray, "n"],
    accepted: Bool[np.ndarray, "n"],
    *,
    threshold: float,
) -> Rejections:
    """Counts what the rejected images failed: AMST's two conditions (paper, stage 2).

    Args:
      predictions: class by head; fewer than two heads always agree.
      uncertainty: NaN where there is none.
      decoded: False where the image could not be read.
      accepted: these are not counted.
      threshold: τ, the smallest uncertainty that is too much.
    """
    judged = decoded & ~accepted
    disagree = (predictions != predictions[:, :1]).any(axis=1)
    uncertain = uncertainty >= threshold
    return Rejections(
        disagree=int(np.sum(judged & disagree & ~uncertain)),
        uncertain=int(np.sum(judged & ~disagree & uncertain)),
        both=int(np.sum(judged & disagree & uncertain)),
        undecodable=int(np.sum(~decoded & ~accepted)),
        other=int(np.sum(judged & ~disagree & ~uncertain)),
    )

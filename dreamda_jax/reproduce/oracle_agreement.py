"""How often an oracle shares the labels of a synthetic set, which are its seeds'."""

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from dreamda_jax.algorithms.metrics.intervals import Estimate, mean_estimate
from dreamda_jax.data import sources
from dreamda_jax.data.evaluation_stream import evaluation_batches
from dreamda_jax.data.sources.synthetic_source import SyntheticSource
from dreamda_jax.models.classifiers.oracle import Oracle, open_oracle

_BATCH_SIZE = 250


class Agreement(NamedTuple):
    """Of one set.

    Attributes:
      share: of the images that can be decoded, in [0, 1]; with its interval, in which the variants
        of a seed count as one draw. None if no image can be decoded.
      by_class: the share by the name of the label; None for one without images.
      num_images: that were decoded.
      digest: of the oracle.
    """

    share: Estimate | None
    by_class: dict[str, float | None]
    num_images: int
    digest: str


def agreement(directory: Path, oracle: str) -> Agreement:
    """Asks an oracle about every image of a set.

    Args:
      directory: what `python -m dreamda_jax.generate` made.
      oracle: see `models.classifiers.oracle.open_oracle`.

    Raises:
      UserError: no such set or oracle, one is damaged, or the oracle does not know a class.
    """
    source = SyntheticSource(directory)
    known = open_oracle(oracle, source.label_names)
    found = ask(known, source)
    labels = np.array([source[place].label for place in range(len(source))])
    seeds = np.array([source.seed_of(place)[0] for place in range(len(source))])
    hits, decoded = found == labels, found >= 0
    return Agreement(
        mean_estimate(hits[decoded], clusters=seeds[decoded]) if decoded.any() else None,
        {
            name: share(hits, decoded & (labels == label))
            for label, name in enumerate(source.label_names)
        },
        int(decoded.sum()),
        known.digest,
    )


def ask(oracle: Oracle, source: sources.Source) -> np.ndarray:
    """int32 [n]: the oracle's class of every image; -1 where it cannot be decoded."""
    classify = jax.jit(oracle.classify)
    found = []
    for batch in evaluation_batches(
        source, batch_size=_BATCH_SIZE, resolution=oracle.image_size, crop="center"
    ):
        classes = np.asarray(classify(oracle.variables, batch.images))
        found.append(np.where(batch.mask, classes, -1)[batch.index >= 0])
    return np.concatenate(found).astype(np.int32)


def share(hits: np.ndarray, mask: np.ndarray) -> float | None:
    """Of the masked, in [0, 1]; None of none."""
    return float(hits[mask].mean()) if mask.any() else None

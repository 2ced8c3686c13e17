"""What an oracle says of every image of a set; shared by the benchmarks that look at labels."""

import jax
import numpy as np

from dreamda_jax.data import sources
from dreamda_jax.data.evaluation_stream import evaluation_batches
from dreamda_jax.models.classifiers.oracle import Oracle


def ask(oracle: Oracle, source: sources.Source) -> np.ndarray:
    """int32 [n]: the oracle's class of every image; -1 where it cannot be decoded."""
    classify = jax.jit(oracle.classify)
    found = []
    for batch in evaluation_batches(
        source, batch_size=250, resolution=oracle.image_size, crop="center"
    ):
        classes = np.asarray(classify(oracle.variables, batch.images))
        found.append(np.where(batch.mask, classes, -1)[batch.index >= 0])
    return np.concatenate(found).astype(np.int32)


def share(hits: np.ndarray, mask: np.ndarray) -> float | None:
    """Of the masked, in [0, 1]; None of none."""
    return float(hits[mask].mean()) if mask.any() else None

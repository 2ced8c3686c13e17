"""Ask an oracle about every image of a synthetic set, and keep what it says in a file.

    python -m dreamda_jax.reproduce.labels runs/fashion --oracle=sample --output=labels.json

A process of its own, as everything is that uses the devices: `reproduce` leaves them to its
children.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from dreamda_jax.algorithms.metrics.intervals import Estimate, mean_estimate
from dreamda_jax.data import sources
from dreamda_jax.data.evaluation_stream import evaluation_batches
from dreamda_jax.data.files import atomic
from dreamda_jax.data.sources.synthetic_source import SyntheticSource
from dreamda_jax.errors import UserError
from dreamda_jax.models.classifiers.oracle import Oracle, open_oracle
from dreamda_jax.runtime import devices
from dreamda_jax.settings import failures, streams

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
    devices.start()
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


def main(argv: list[str]) -> int:
    """Writes {"oracle", "digest", "images", "share", "low", "high", "by_class"}."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("set", type=Path, help="A directory that generate made.")
    parser.add_argument("--oracle", required=True, help='A saved classifier, or "sample".')
    parser.add_argument("--output", type=Path, required=True, help="The file to write.")
    flags = parser.parse_args(argv)
    _ask(flags.set, flags.oracle, flags.output)
    return 0


def _ask(directory: Path, oracle: str, output: Path) -> None:
    found = agreement(directory, oracle)
    if found.share is None:
        raise UserError(f"none of the images of {directory} can be decoded")
    content = {
        "oracle": oracle,
        "digest": found.digest,
        "images": found.num_images,
        "share": found.share.value,
        "low": found.share.low,
        "high": found.share.high,
        "by_class": found.by_class,
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_atomically(output, atomic.to_json(content))
    print(f"labels      {found.share.value:.1%} of {found.num_images:,} are the oracle's too")


if __name__ == "__main__":
    failures.watch_streams()
    streams.show_only_printable()
    failures.exit_with(lambda: main(sys.argv[1:]))

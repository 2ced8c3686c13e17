"""Ask an oracle about every image of a synthetic set, and keep what it says in a file.

    python -m dreamda_jax.reproduce.labels runs/fashion --oracle=sample --output=labels.json

A process of its own, as everything is that uses the devices: `reproduce` leaves them to its
children.
"""

import argparse
import functools
import sys
import threading
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from dreamda_jax.algorithms.metrics.intervals import Estimate, mean_estimate
from dreamda_jax.data import sources
from dreamda_jax.data.files import atomic
from dreamda_jax.data.sources.synthetic_source import SyntheticSource
from dreamda_jax.errors import UserError
from dreamda_jax.models.classifiers.oracle import Oracle, open_oracle
from dreamda_jax.runtime import devices, image_sweep, interrupt
from dreamda_jax.runtime.sweep import View
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


def agreement(
    directory: Path, oracle: str, *, portions: Path, stop: threading.Event
) -> Agreement | None:
    """Asks an oracle about every image of a set.

    Args:
      directory: what `python -m dreamda_jax.generate` made.
      oracle: see `models.classifiers.oracle.open_oracle`.
      portions: a directory that its answers lie in until all are there.
      stop: ends it between two batches.

    Returns:
      What it says; None if `stop` was set.

    Raises:
      UserError: no such set or oracle, one is damaged, or the oracle does not know a class.
    """
    devices.start()
    source = SyntheticSource(directory)
    known = open_oracle(oracle, source.label_names)
    said = ask(known, source, portions=portions, stop=stop)
    if said is None:
        return None
    image_sweep.remove(portions)
    decoded, labels = said["decoded"], said["labels"]
    hits = said["classes"] == labels
    seeds = np.array([source.seed_of(place)[0] for place in range(len(source))])
    return Agreement(
        share=mean_estimate(hits[decoded], clusters=seeds[decoded]) if decoded.any() else None,
        by_class={
            name: share(hits, decoded & (labels == label))
            for label, name in enumerate(source.label_names)
        },
        num_images=int(decoded.sum()),
        digest=known.digest,
    )


def ask(
    oracle: Oracle, source: sources.Source, *, portions: Path, stop: threading.Event
) -> dict[str, np.ndarray] | None:
    """The oracle's "classes" int32 [n] of every image, with what `image_sweep.sweep` adds.

    Args:
      oracle: whom to ask.
      source: the images.
      portions: a directory that its answers lie in until all are there.
      stop: ends it between two batches; None is returned then.
    """
    mesh = devices.training_mesh()
    classify = jax.jit(oracle.classify)
    place = functools.partial(devices.place, sharding=devices.replicated(mesh))
    variables = jax.tree.map(place, oracle.variables)
    count = devices.device_count()
    return image_sweep.sweep(
        mesh,
        source,
        lambda images, _: {"classes": classify(variables, images)},
        view=View(
            resolution=oracle.image_size,
            crop="center",
            batch_size=-(-_BATCH_SIZE // count) * count,
            num_workers=0,
        ),
        directory=portions,
        stop=stop,
        note="the oracle",
    )


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
    job = functools.partial(_ask, flags.set, flags.oracle, flags.output)
    return interrupt.exit_code(job)


def _ask(directory: Path, oracle: str, output: Path, stop: threading.Event) -> int | None:
    portions = output.with_name(f"{output.name}.portions")
    found = agreement(directory, oracle, portions=portions, stop=stop)
    if found is None:
        return None
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
    return 0


if __name__ == "__main__":
    failures.watch_streams()
    streams.show_only_printable()
    failures.exit_with(lambda: main(sys.argv[1:]))

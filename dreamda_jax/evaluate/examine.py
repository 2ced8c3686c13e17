"""From features to everything a report says of the images."""

import functools
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dreamda_jax.algorithms.metrics import diversity, fid
from dreamda_jax.data.sources import Source
from dreamda_jax.data.sources.synthetic_source import SyntheticSource
from dreamda_jax.errors import UserError
from dreamda_jax.evaluate import copies, numbers
from dreamda_jax.evaluate.networks import Networks
from dreamda_jax.evaluate.numbers import Compared
from dreamda_jax.evaluate.pictures import Pictures
from dreamda_jax.models.extractors import CLIP
from dreamda_jax.options.evaluate import Evaluate
from dreamda_jax.runtime.program_notes import ProgramNotes
from dreamda_jax.runtime.sweep import Channel, Swept, View, sweep


class Sets(NamedTuple):
    """All images, their features known."""

    real: Swept
    synthetic: Swept
    test: Swept | None


def sweep_all(
    sets: Mapping[str, Source],
    channels: Sequence[Channel],
    *,
    view: View,
    cache: Path,
    stop: threading.Event,
    notes: ProgramNotes,
) -> Sets | None:
    """The features of every image; None if `stop` was set.

    Args:
      sets: "real", "synthetic" and perhaps "test".
      channels: what is taken of an image.
      view: how images are read.
      cache: of features.
      stop: ends it between two batches; what is done is kept.
      notes: of the networks.

    Raises:
      UserError: no image of a set can be decoded, or features are not finite.
    """
    swept: dict[str, Swept] = {}
    for name, source in sets.items():
        found = sweep(source, channels, view=view, cache=cache, stop=stop, note=name, notes=notes)
        if found is None:
            return None
        if not len(found.places):
            raise UserError(f"none of the {len(source):,} {name} images can be decoded")
        swept[name] = found
    return Sets(swept["real"], swept["synthetic"], swept.get("test"))


def metrics(
    networks: Networks, sets: Sets, *, seed_ids: np.ndarray | None, options: Evaluate
) -> list[dict[str, Any]]:
    """The report's "metrics".

    The baseline is what the test images give in the place of the synthetic ones, of which as many
    are taken, at most.

    Args:
      networks: whose features they are.
      sets: all features.
      seed_ids: int64 [m], the seed of every synthetic image; None where it is not known.
      options: of the metrics.
    """
    extractor = networks.extractor
    measured: numbers.Measured = {}
    baseline: numbers.Measured = {}
    stride = 1
    if sets.test is not None:
        stride = -(-len(sets.test.places) // len(sets.synthetic.places))

    def compared(channel: str) -> tuple[Compared, Compared | None]:
        real = sets.real.features[channel].values
        judged = Compared(real, sets.synthetic.features[channel].values, seed_ids)
        if sets.test is None:
            return judged, None
        return judged, Compared(real, sets.test.features[channel].values[::stride])

    for place, of in enumerate(compared(extractor.name)):
        if of is not None:
            (measured, baseline)[place].update(numbers.measure_features(of, options))
    if networks.prompts is not None:
        labels = [sets.synthetic.row_labels]
        labels += [sets.test.row_labels[::stride]] if sets.test else []
        for place, of in enumerate(compared(CLIP)):
            if of is not None:
                found = numbers.measure_embeddings(of, networks.prompts, labels[place], options)
                (measured, baseline)[place].update(found)
    return numbers.metric_rows(
        measured,
        baseline,
        options=options,
        extractor=extractor.name,
        num_features=extractor.num_features,
    )


def classes(
    sets: Sets, *, channel: str, label_names: Sequence[str], seed_ids: np.ndarray | None
) -> tuple[list[dict[str, Any]], dict[str, float] | None]:
    """The report's "per_class" and "diversity".

    Diversity is the mean distance of a seed's variants, and as a ratio to the mean distance of real
    images of the class. It is None where the seeds are not known, or have one variant each.

    Args:
      sets: all features.
      channel: which of them.
      label_names: the classes.
      seed_ids: int64 [m], the seed of every synthetic image; None where it is not known.
    """
    count = len(label_names)
    real, made = sets.real, sets.synthetic
    features = {"real": real.features[channel].values, "made": made.features[channel].values}
    by_class = fid.fid_by_class(
        features["real"], real.row_labels, features["made"], made.row_labels, num_classes=count
    )
    within_class = np.full(count, np.nan)
    found = diversity.distances_within_groups(features["real"], real.row_labels, name="real")
    within_class[found.group] = found.distance
    within_seed = np.full(count, np.nan)
    if seed_ids is not None:
        of_seed = diversity.distances_within_groups(features["made"], seed_ids, name="synthetic")
        label_of = dict(zip(seed_ids.tolist(), made.row_labels.tolist(), strict=True))
        labels = np.array([label_of[seed] for seed in of_seed.group.tolist()])
        within_seed = diversity.mean_by_class(of_seed, labels, num_classes=count)
    ratio = np.divide(within_seed, within_class, out=np.full(count, np.nan), where=within_class > 0)
    rows = [
        {
            "name": name,
            "real": int(by_class.real[label]),
            "synthetic": int(by_class.synthetic[label]),
            "fid": numbers.or_none(by_class.value[label]),
            "diversity": numbers.or_none(ratio[label]),
        }
        for label, name in enumerate(label_names)
    ]
    usable = np.isfinite(ratio)
    if not usable.any():
        return rows, None
    return rows, {
        "within_seed": float(within_seed[usable].mean()),
        "within_class_real": float(within_class[usable].mean()),
        "ratio": float(ratio[usable].mean()),
    }


def copies_and_leaks(
    sets: Sets, pictures: Pictures, *, channel: str, label_names: Sequence[str], options: Evaluate
) -> dict[str, copies.Search | None]:
    """The report's "copies", and all flagged pairs: among training and among test images."""
    search = functools.partial(
        copies.search,
        sets.synthetic,
        features=channel,
        label_names=label_names,
        options=options,
        pictures=pictures,
    )
    return {
        "training": search(sets.real, which="real"),
        "test": search(sets.test, which="test") if sets.test else None,
    }


def seeds_of(made: SyntheticSource | None, synthetic: Swept) -> np.ndarray | None:
    """int64 [m], the seed of every image with features; None where it is not known.

    Args:
      made: the set of the images, where `generate` made it.
      synthetic: the images.
    """
    if made is None:
        return None
    return np.array([made.seed_of(place)[0] for place in synthetic.places], np.int64)

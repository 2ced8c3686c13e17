"""Makes the missing shards of a run, and finishes it: weights, loader, engine, report together."""

import contextlib
import threading
from collections.abc import Callable, Sequence

import numpy as np

from dreamda_jax.algorithms import random_key
from dreamda_jax.algorithms.diffusion import keys as keys_lib
from dreamda_jax.data.files.mirror import Mirror
from dreamda_jax.data.sets import dataset, production_log, shards
from dreamda_jax.data.sources import Source
from dreamda_jax.generate import conditioning, engine, production, summary
from dreamda_jax.generate.build import Making, Networks
from dreamda_jax.generate.expected import Expected
from dreamda_jax.models.stable_diffusion import loading
from dreamda_jax.runtime import devices, program_notes
from dreamda_jax.runtime.heartbeat import waiting
from dreamda_jax.synthesis.method import Method
from dreamda_jax.synthesis.pipeline import DreamDAPipeline
from dreamda_jax.types import Params


def make_and_report(
    networks: Networks,
    making: Making,
    pipeline: DreamDAPipeline,
    mine: range,
    todo: list[int],
    expected: Expected,
    stop: threading.Event,
    *,
    process_index: int,
    mirrors: Sequence[Mirror] = (),
) -> None:
    """Loads the weights, makes the missing shards, and says and records how that went.

    Args:
      networks: of the run.
      making: what it makes.
      pipeline: its model, with the programs traced so far.
      mine: the shards of this process.
      todo: of them, those to make.
      expected: what was known of the images before.
      stop: when set, no further batch is started.
      process_index: of this process; each has a production log of its own.
      mirrors: of the output, if that is in an object store.

    Raises:
      UserError: see `make_missing`.
    """
    with waiting("loading the weights"):
        params = load_params(networks, making.method)
    finished = sorted(set(mine) - set(todo))
    statistics = make_missing(
        making,
        pipeline,
        params,
        todo=todo,
        finished=finished,
        stop=stop,
        notes=expected.notes,
        mine=mine,
        refresh=lambda: _fetch_learned(mirrors),
    )
    if stop.is_set():
        print(summary.kept(statistics, seeds_per_shard=making.layout.seeds_per_shard))
    if statistics.images_in_seconds:
        expected.notes.put(seconds_each=statistics.seconds / statistics.images_in_seconds)
    print(summary.made(statistics, noise_scale=making.method.noise_scale))
    session = summary.session(statistics, devices=devices.describe_devices(), price=expected.price)
    production_log.append_session(making.layout.directory, session, process_index=process_index)


def make_missing(
    making: Making,
    pipeline: DreamDAPipeline,
    params: Params,
    *,
    todo: list[int],
    finished: list[int],
    stop: threading.Event,
    notes: program_notes.ProgramNotes = program_notes.NONE,
    mine: Sequence[int] | None = None,
    refresh: Callable[[], None] = lambda: None,
) -> engine.Statistics:
    """Makes the shards `todo` of `making.layout`, with a progress bar and a contact sheet.

    Args:
      making: what the run makes.
      pipeline: its model, with the programs compiled so far.
      params: parameters on the devices.
      todo: the shards to make.
      finished: those that are there already, for the progress and the contact sheet.
      stop: when set, no further batch is started.
      notes: of the program.
      mine: the shards of this process; default: all.
      refresh: see `learned.Job`.

    Raises:
      UserError: the disk is full, or the network's output is not a number.
    """
    image, synthesis = making.image, making.synthesis
    # All at once: one small compilation, whatever the size of the last batch.
    root = random_key.raw_key(synthesis.seed)
    keys = np.asarray(keys_lib.seed_keys(root, np.arange(making.layout.num_seeds)))
    conditions = conditioning.open_conditions(
        making, pipeline, params, keys, mine=mine, stop=stop, refresh=refresh
    )
    if conditions is None:
        return engine.Statistics()
    report = production.Production(
        making.layout,
        making.source,
        finished=finished,
        todo=todo,
        num_variants=synthesis.num_variants,
        resolution=image.resolution,
        crop=image.crop,
    )
    job = engine.Job(
        pipeline=pipeline,
        params=params,
        method=making.method,
        layout=making.layout,
        label_names=making.source.label_names,
        conditions=conditions,
        keys=keys,
        num_variants=synthesis.num_variants,
        seeds_per_device=synthesis.seeds_per_device,
        image_format=making.output.format,
        image_quality=making.output.quality,
        notes=notes,
    )
    ids = [index for shard in todo for index in making.layout.seed_ids(shard)]
    seeds = conditioning.load_seeds(
        making.source, making.image, ids, num_workers=making.loader.num_workers
    )
    with contextlib.closing(seeds), contextlib.closing(report.progress):
        return engine.make_shards(job, seeds, stop=stop, report=report)


def load_params(networks: Networks, method: Method) -> Params:
    """All parameters a run needs, on every local device.

    Raises:
      UserError: weights are damaged or pickled, do not fit the model, or are not finite.
    """
    params = loading.load_params(networks.model, networks.files, place=devices.replicate)
    return {**params, **method.load_extra_params(devices.replicate)}


def _fetch_learned(mirrors: Sequence[Mirror]) -> None:
    """Brings here the embeddings that other hosts have learnt, and theirs what this one has."""
    for mirror in mirrors:
        mirror.push()
        mirror.pull(lambda name: name.startswith("learned/"))


def fetch_the_others(mirror: Mirror, layout: shards.Layout) -> None:
    """Brings here what other hosts made, once all of it is in the store.

    Raises:
      UserError: the store cannot be reached or refuses.
    """
    mirror.push()
    there = mirror.store.list()
    markers = (layout.marker(shard) for shard in range(layout.num_shards))
    if all(str(marker.relative_to(layout.directory)) in there for marker in markers):
        mirror.pull()


def finish(making: Making) -> str:
    """Writes the metadata of a set whose shards are all there, and its contact sheet.

    Args:
      making: what the run makes.

    Returns:
      What to say of it.

    Raises:
      UserError: a shard is missing, no image at all was made, or the disk is full.
    """
    side = making.image.resolution
    made = dataset.finish(
        making.layout,
        label_names=making.source.label_names,
        image_shape=(side, side, 3),
        image_format=making.output.format,
        description=f"{making.source.name} expanded by dreamda_jax ({making.method.name}).",
    )
    production.refresh_contact_sheet(
        making.layout, making.source, resolution=side, crop=making.image.crop
    )
    return summary.end(
        making.layout.directory, made, empty_classes=_empty_classes(making.layout, making.source)
    )


def look(layout: shards.Layout, source: Source) -> str:
    """The same of a finished set on a disk that cannot be written.

    Raises:
      UserError: its metadata are not there or damaged.
    """
    found = dataset.open_finished(layout.directory, checksum=False)
    made = dataset.Summary(
        found.num_records, shards.num_skipped(layout, range(layout.num_shards)), found.num_bytes
    )
    return summary.end(layout.directory, made, empty_classes=_empty_classes(layout, source))


def _empty_classes(layout: shards.Layout, source: Source) -> list[str]:
    """Classes all of whose seed images were skipped, as far as marks tell (not those of 0.1)."""
    made: set[int] = set()
    skipped: set[int] = set()
    for shard in range(layout.num_shards):
        marker = shards.read_marker(layout, shard)
        if "images_by_label" not in marker:
            return []
        made |= {int(label) for label in marker["images_by_label"]}
        skipped |= {source[entry["seed_id"]].label for entry in marker["skipped"]}
    return [source.label_names[label] for label in sorted(skipped - made)]

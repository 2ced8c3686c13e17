"""Makes the missing shards of a run, and finishes it: weights, loader, engine, report together."""

import contextlib
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from dreamda_jax.algorithms import random_key
from dreamda_jax.algorithms.diffusion import keys as keys_lib
from dreamda_jax.data.files.mirror import Mirror
from dreamda_jax.data.sets import dataset, production_log, shards
from dreamda_jax.generate import conditioning, cost, engine, production, summary
from dreamda_jax.generate.build import Generation
from dreamda_jax.generate.cost import Cost
from dreamda_jax.models.stable_diffusion import checkpoint_files, loading
from dreamda_jax.runtime import devices, forecast, program_notes
from dreamda_jax.runtime.heartbeat import waiting
from dreamda_jax.settings import binding
from dreamda_jax.synthesis.gif import Gif
from dreamda_jax.synthesis.pipeline import DreamDAPipeline
from dreamda_jax.types import Params


class Expected(NamedTuple):
    """What is known of the images before any is made.

    Attributes:
      price: of one image.
      notes: of the program.
    """

    price: Cost
    notes: program_notes.ProgramNotes


def expect(parts: Generation, pipeline: DreamDAPipeline) -> Expected:
    """What an image costs, by the notes of an earlier run, else by tracing what is about to run.

    Raises:
      UserError: the method's options do not fit the network.
    """
    notes = _notes_of(parts)
    price = Cost.noted(notes)
    if price is None:
        with binding.as_user_error("method"), waiting("tracing the sampling program"):
            price = cost.price(
                parts.model,
                parts.method,
                resolution=parts.image.resolution,
                num_variants=parts.synthesis.num_variants,
                seeds_per_device=parts.synthesis.seeds_per_device,
                program=pipeline.program(parts.method),
            )
        notes.put(**price._asdict())
    return Expected(price, notes)


def _notes_of(parts: Generation) -> program_notes.ProgramNotes:
    clip = parts.method.clip if isinstance(parts.method, Gif) else None
    depends_on = {
        "networks": checkpoint_files.config_digest(parts.files),
        "dtype": parts.checkpoint.dtype,
        "attention": parts.model.attention,
        "scheduler": parts.model.scheduler,
        "method": repr(parts.method),
        "clip": clip.digest if clip else None,
        "resolution": parts.image.resolution,
        "num_variants": parts.synthesis.num_variants,
        "seeds_per_device": parts.synthesis.seeds_per_device,
    }
    return program_notes.notes_of("generate", depends_on)


def time_of_images(
    parts: Generation, expected: Expected, *, num_images: int
) -> forecast.Forecast | None:
    """How long this process will take for so many images."""
    each = expected.notes.seconds_each
    if each is not None:
        return forecast.from_last_run(each, unit="image", count=num_images)
    return forecast.from_operations(
        expected.price.flops,
        unit="image",
        count=num_images,
        dtype=parts.checkpoint.dtype,
        num_devices=devices.local_device_count(),
    )


def make_and_report(
    parts: Generation,
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
      parts: the run.
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
        params = load_params(parts)
    finished = sorted(set(mine) - set(todo))
    statistics = make_missing(
        parts,
        pipeline,
        params,
        todo=todo,
        finished=finished,
        stop=stop,
        notes=expected.notes,
        mine=mine,
        refresh=lambda: _fetch_learned(mirrors),
    )
    if statistics.images_in_seconds:
        expected.notes.put(seconds_each=statistics.seconds / statistics.images_in_seconds)
    print(summary.made(statistics, noise_scale=parts.method.noise_scale))
    session = summary.session(statistics, devices=devices.describe_devices(), price=expected.price)
    production_log.append_session(parts.layout.directory, session, process_index=process_index)


def make_missing(
    parts: Generation,
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
    """Makes the shards `todo` of `parts.layout`, with a progress bar and a contact sheet.

    Args:
      parts: the run.
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
    image, synthesis = parts.image, parts.synthesis
    # All at once: one small compilation, whatever the size of the last batch.
    root = random_key.raw_key(synthesis.seed)
    keys = np.asarray(keys_lib.seed_keys(root, np.arange(parts.layout.num_seeds)))
    conditions = conditioning.open_conditions(
        parts, pipeline, params, keys, mine=mine, stop=stop, refresh=refresh
    )
    if conditions is None:
        return engine.Statistics()
    report = production.Production(
        parts.layout,
        parts.source,
        finished=finished,
        todo=todo,
        num_variants=synthesis.num_variants,
        resolution=image.resolution,
        crop=image.crop,
    )
    job = engine.Job(
        pipeline=pipeline,
        params=params,
        method=parts.method,
        layout=parts.layout,
        label_names=parts.source.label_names,
        conditions=conditions,
        keys=keys,
        num_variants=synthesis.num_variants,
        seeds_per_device=synthesis.seeds_per_device,
        image_format=parts.output.format,
        image_quality=parts.output.quality,
        notes=notes,
    )
    ids = [index for shard in todo for index in parts.layout.seed_ids(shard)]
    seeds = conditioning.load_seeds(parts, ids, num_workers=parts.loader.num_workers)
    with contextlib.closing(seeds), contextlib.closing(report.progress):
        return engine.make_shards(job, seeds, stop=stop, report=report)


def load_params(parts: Generation) -> Params:
    """All parameters a run needs, on every local device.

    Raises:
      UserError: weights are damaged or pickled, do not fit the model, or are not finite.
    """
    params = loading.load_params(parts.model, parts.files, place=devices.replicate)
    if isinstance(parts.method, Gif) and parts.method.clip is not None:
        params["clip"] = parts.method.clip.load(devices.replicate)
    return params


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


def finish(parts: Generation) -> str:
    """Writes the metadata of a set whose shards are all there, and its contact sheet.

    Args:
      parts: the run.

    Returns:
      What to say of it.

    Raises:
      UserError: a shard is missing, no image at all was made, or the disk is full.
    """
    side = parts.image.resolution
    made = dataset.finish(
        parts.layout,
        label_names=parts.source.label_names,
        image_shape=(side, side, 3),
        image_format=parts.output.format,
        description=f"{parts.source.name} expanded by dreamda_jax ({parts.method.name}).",
    )
    production.refresh_contact_sheet(
        parts.layout, parts.source, resolution=side, crop=parts.image.crop
    )
    return summary.end(parts.layout.directory, made, empty_classes=_empty_classes(parts))


def look(parts: Generation) -> str:
    """The same of a finished set on a disk that cannot be written.

    Raises:
      UserError: its metadata are not there or damaged.
    """
    found = dataset.open_finished(parts.layout.directory, checksum=False)
    made = dataset.Summary(
        found.num_records, num_skipped(parts, range(parts.layout.num_shards)), found.num_bytes
    )
    return summary.end(parts.layout.directory, made, empty_classes=_empty_classes(parts))


def num_skipped(parts: Generation, finished: Iterable[int]) -> int:
    """How many seed images of these finished shards have no variants."""
    return sum(len(shards.read_marker(parts.layout, shard)["skipped"]) for shard in finished)


def _empty_classes(parts: Generation) -> list[str]:
    """Classes all of whose seed images were skipped, as far as marks tell (not those of 0.1)."""
    made: set[int] = set()
    skipped: set[int] = set()
    for shard in range(parts.layout.num_shards):
        marker = shards.read_marker(parts.layout, shard)
        if "images_by_label" not in marker:
            return []
        made |= {int(label) for label in marker["images_by_label"]}
        skipped |= {parts.source[entry["seed_id"]].label for entry in marker["skipped"]}
    return [parts.source.label_names[label] for label in sorted(skipped - made)]

"""What is known of a run's images before any is made: cost, time, and what the start says."""

from typing import NamedTuple

from dreamda_jax.data.files import run_directory
from dreamda_jax.data.sets import shards
from dreamda_jax.generate import cost, summary
from dreamda_jax.generate.build import Making, Networks
from dreamda_jax.generate.cost import Cost
from dreamda_jax.models.stable_diffusion import checkpoint_files
from dreamda_jax.runtime import devices, forecast, program_notes
from dreamda_jax.runtime.heartbeat import waiting
from dreamda_jax.settings import binding
from dreamda_jax.synthesis.pipeline import DreamDAPipeline


class Expected(NamedTuple):
    """What is known of the images before any is made.

    Attributes:
      price: of one image.
      notes: of the program.
    """

    price: Cost
    notes: program_notes.ProgramNotes


def expect(networks: Networks, making: Making, pipeline: DreamDAPipeline) -> Expected:
    """What an image costs, by the notes of an earlier run, else by tracing what is about to run.

    Raises:
      UserError: the method's options do not fit the network.
    """
    notes = _notes_of(networks, making)
    price = Cost.noted(notes)
    if price is None:
        with binding.as_user_error("method"), waiting("tracing the sampling program"):
            price = cost.price(
                networks.model,
                making.method,
                resolution=making.image.resolution,
                num_variants=making.synthesis.num_variants,
                seeds_per_device=making.synthesis.seeds_per_device,
                program=pipeline.program(making.method),
            )
        notes.put(**price._asdict())
    return Expected(price, notes)


def _notes_of(networks: Networks, making: Making) -> program_notes.ProgramNotes:
    depends_on = {
        "networks": checkpoint_files.config_digest(networks.files),
        "dtype": networks.options.dtype,
        "attention": networks.model.attention,
        "method": repr(making.method),
        "asked": making.method.digests(),
        "resolution": making.image.resolution,
        "num_variants": making.synthesis.num_variants,
        "seeds_per_device": making.synthesis.seeds_per_device,
    }
    return program_notes.notes_of("generate", depends_on)


def time_of_images(expected: Expected, *, num_images: int, dtype: str) -> forecast.Forecast | None:
    """How long this process will take for so many images."""
    each = expected.notes.seconds_each
    if each is not None:
        return forecast.from_last_run(each, unit="image", count=num_images)
    return forecast.from_operations(
        expected.price.flops,
        unit="image",
        count=num_images,
        dtype=dtype,
        num_devices=devices.local_device_count(),
    )


def start_lines(
    networks: Networks,
    making: Making,
    mine: range,
    todo: list[int],
    expected: Expected,
) -> str:
    """What a run says before it makes anything.

    Args:
      networks: of the run.
      making: what it makes.
      mine: the shards of this process.
      todo: of them, those to make.
      expected: what is known of the images.

    Raises:
      UserError: the disk has too little room.
    """
    layout, options = making.layout, networks.options
    seeds_left = sum(len(layout.seed_ids(shard)) for shard in todo)
    num_images = seeds_left * making.synthesis.num_variants
    num_bytes = cost.estimated_bytes(
        num_images,
        num_shards=len(todo),
        resolution=making.image.resolution,
        image_format=making.output.format,
    )
    run_directory.check_free_space(layout.directory, needed=num_bytes)
    return summary.start(
        num_skipped=shards.num_skipped(layout, {*mine} - {*todo}),
        devices=devices.describe_devices(),
        model=f"{options.path}, {options.dtype}",
        method=making.method.name,
        num_seeds=sum(len(layout.seed_ids(shard)) for shard in mine),
        seeds_left=seeds_left,
        source=making.source,
        num_variants=making.synthesis.num_variants,
        resolution=making.image.resolution,
        price=expected.price,
        time=time_of_images(expected, num_images=num_images, dtype=options.dtype),
        num_bytes=num_bytes,
        output=making.output.path,
    )

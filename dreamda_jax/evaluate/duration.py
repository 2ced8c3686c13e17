"""How long it takes to look at all images: by the notes of earlier runs, else by the operations."""

from collections.abc import Iterable

import jax
import numpy as np

from dreamda_jax.data.sources import Source
from dreamda_jax.evaluate.networks import Networks
from dreamda_jax.runtime import devices, forecast, program_notes
from dreamda_jax.runtime.flops import count_flops
from dreamda_jax.runtime.sweep import View


def notes_of(networks: Networks, view: View) -> program_notes.ProgramNotes:
    """What earlier runs left word of these networks on images of this size."""
    depends_on = {
        "channels": [(channel.name, channel.digest) for channel in networks.channels],
        "view": view,
    }
    return program_notes.notes_of("evaluate", depends_on)


def time_of_images(
    sets: Iterable[Source], networks: Networks, view: View
) -> forecast.Forecast | None:
    """Of all images of all sets; those whose features are in the cache take none."""
    count = sum(map(len, sets))
    notes = notes_of(networks, view)
    each = notes.seconds_each
    if each is not None:
        return forecast.from_last_run(each, unit="image", count=count)
    flops = notes.number("flops")
    if flops is None:
        side = view.resolution
        image = jax.ShapeDtypeStruct((1, side, side, 3), np.uint8)
        flops = sum(count_flops(used.features, used.params, image) for used in networks.extractors)
        notes.put(flops=flops)
    return forecast.from_operations(
        flops, unit="image", count=count, dtype="float32", num_devices=devices.device_count()
    )

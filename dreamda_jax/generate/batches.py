"""How seeds are put together for the devices, so that no image depends on its company.

A compiled program may round a row of a batch by its place in it. So what one device computes in one
call is a fixed *group*: `seeds_per_device` consecutive seeds of one shard. The same seed has the
same place among the same others on one device or eight, in a run that was resumed, or when only its
shard is made again. A broken seed leaves its slot empty, and no group reaches into the next shard.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from dreamda_jax.data.loader import Seed


class Batch(NamedTuple):
    """Up to one group per device.

    Attributes:
      seeds: all seeds, broken ones included, in order.
      slots: what each row of the program is for: a seed, or None where the row is only filled.
    """

    seeds: list[Seed]
    slots: list[Seed | None]

    @property
    def usable(self) -> list[Seed]:
        """The seeds that are not broken, in order."""
        return [slot for slot in self.slots if slot is not None]


def make_batches(
    seeds: Iterable[Seed], *, seeds_per_device: int, seeds_per_shard: int, devices: int
) -> Iterator[Batch]:
    """Groups seeds, and groups into batches; the last batch may have fewer groups."""
    batch = Batch([], [])
    size = devices * seeds_per_device
    for group in _groups(seeds, seeds_per_device, seeds_per_shard):
        batch.seeds.extend(group)
        batch.slots.extend(seed if seed.error is None else None for seed in group)
        batch.slots.extend([None] * (seeds_per_device - len(group)))
        if len(batch.slots) == size:
            yield batch
            batch = Batch([], [])
    if batch.seeds:
        yield batch


def _groups(
    seeds: Iterable[Seed], seeds_per_device: int, seeds_per_shard: int
) -> Iterator[list[Seed]]:
    group: list[Seed] = []
    for seed in seeds:
        group.append(seed)
        ends_shard = (seed.index + 1) % seeds_per_shard == 0
        if ends_shard or len(group) == seeds_per_device:
            yield group
            group = []
    if group:
        yield group

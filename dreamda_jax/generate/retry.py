"""Seed images that an earlier run skipped and that can be read now: their shards are made again."""

from collections.abc import Callable, Iterable

from dreamda_jax.data.sets import shards
from dreamda_jax.data.sources import Source
from dreamda_jax.generate import conditioning
from dreamda_jax.options.synthesis import Image


def mended_shards(
    layout: shards.Layout,
    source: Source,
    image: Image,
    finished: Iterable[int],
    *,
    report: Callable[[str], object],
) -> list[int]:
    """Of the finished shards those with a skipped seed image that can be read now.

    Such as one that was missing or not permitted to be read, or half copied. The shard stays as it
    is until the new one takes its place.

    Args:
      layout: of the run.
      source: of its seed images.
      image: how they are decoded.
      finished: shards of the layout.
      report: hears a line for each shard.
    """
    skipped = {
        entry["seed_id"]: shard
        for shard in finished
        for entry in shards.read_marker(layout, shard)["skipped"]
    }
    mended: dict[int, list[str]] = {}
    for seed in conditioning.load_seeds(source, image, sorted(skipped)) if skipped else ():
        if seed.error is None:
            mended.setdefault(skipped[seed.index], []).append(seed.name)
    for shard, names in sorted(mended.items()):
        more = f" and {len(names) - 1} more of its seed images" if len(names) > 1 else ""
        report(
            f"{layout.path(shard).name} is made again: {names[0]}{more}, skipped before, can "
            "be read now."
        )
    return sorted(mended)


def forget_learned(layout: shards.Layout, remade: Iterable[int]) -> None:
    """Removes what was learnt of these shards' seed images when not all of them could be read."""
    for shard in remade:
        name = f"{shard:05d}-of-{layout.num_shards:05d}.safetensors"
        (layout.directory / "learned" / name).unlink(missing_ok=True)

"""A small finished synthetic set, written with the package's own functions."""

from pathlib import Path

import numpy as np

from dreamda_jax.data.sets import dataset, records, shards

NAMES = ("cat", "dog", " spaced \n out ")


def make_pixels(seed_id: int, variant: int, size: int) -> np.ndarray:
    rng = np.random.default_rng([seed_id, variant])
    return rng.integers(0, 256, (size, size, 3), dtype=np.uint8)


def make_record(seed_id: int, variant: int, *, image_format="png", size=8, label=None):
    label = seed_id % len(NAMES) if label is None else label
    pixels = make_pixels(seed_id, variant, size)
    return records.Record(
        image=records.encode_image(pixels, image_format=image_format, quality=90),
        label=label,
        label_name="",
        seed_id=seed_id,
        seed_name=f"dir/{seed_id}.jpg",
        variant=variant,
        prompt="",
        method="dreamda",
        key=(seed_id, variant),
    )


def make_synthetic(
    directory: Path,
    *,
    num_seeds: int = 7,
    seeds_per_shard: int = 3,
    num_variants: int = 3,
    skipped: tuple[int, ...] = (),
    image_format="png",
    size: int = 8,
    label: int | None = None,
    names=NAMES,
) -> shards.Layout:
    """Seeds in order with all their variants but those skipped, as the engine writes them."""
    layout = shards.Layout.for_seeds(
        directory, name="toys", num_seeds=num_seeds, seeds_per_shard=seeds_per_shard
    )
    for shard in range(layout.num_shards):
        made = [
            make_record(seed_id, variant, image_format=image_format, size=size, label=label)
            for seed_id in layout.seed_ids(shard)
            for variant in range(num_variants)
            if seed_id not in skipped
        ]
        left_out = [
            shards.Skipped(seed_id, f"dir/{seed_id}.jpg", "truncated")
            for seed_id in layout.seed_ids(shard)
            if seed_id in skipped
        ]
        shards.write_shard(layout, shard, made, left_out)
    dataset.finish(
        layout, label_names=names, image_shape=(size, size, 3), image_format=image_format
    )
    return layout

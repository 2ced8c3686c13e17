"""Records of small images, and the layout of a set of a few shards."""

from pathlib import Path

import numpy as np

from dreamda_jax.data.sets import records
from dreamda_jax.data.sets.records import Record
from dreamda_jax.data.sets.shards import Layout

NAMES = ["a/b", "..", "ünï cödé", " spaces  around ", "two\nlines"]


def make_pixels(seed_id: int, variant: int, size: int = 16) -> np.ndarray:
    rng = np.random.default_rng([seed_id, variant])
    return rng.integers(0, 256, (size, size, 3), dtype=np.uint8)


def make_records(seed_ids, *, variants: int = 2, image_format="png", size: int = 16):
    return [
        Record(
            image=records.encode_image(
                make_pixels(seed_id, variant, size), image_format=image_format, quality=90
            ),
            label=seed_id % len(NAMES),
            label_name=NAMES[seed_id % len(NAMES)],
            seed_id=seed_id,
            seed_name=f"dir/{seed_id}.jpg",
            variant=variant,
            prompt="A photo of a ünï cödé",
            method="dreamda",
            key=(4_000_000_000 + seed_id, variant),
        )
        for seed_id in seed_ids
        for variant in range(variants)
    ]


def new_layout(directory: Path, *, num_seeds: int = 5, seeds_per_shard: int = 2) -> Layout:
    return Layout.for_seeds(
        directory, name="fashion20", num_seeds=num_seeds, seeds_per_shard=seeds_per_shard
    )

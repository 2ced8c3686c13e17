"""Records of small images, and the layout of a set of a few shards."""

from pathlib import Path

import numpy as np

from dreamda_jax.data.sets import dataset, records, shards
from dreamda_jax.data.sets.records import Record
from dreamda_jax.data.sets.shards import Layout

NAMES = ["a/b", "..", "ünï cödé", " spaces  around ", "two\nlines"]


def make_pixels(seed_id: int, variant: int, size: int = 16) -> np.ndarray:
    rng = np.random.default_rng([seed_id, variant])
    return rng.integers(0, 256, (size, size, 3), dtype=np.uint8)


def make_record(seed_id: int, variant: int, *, image: bytes | None = None, **fields) -> Record:
    """A record of a variant; fields that are not given follow from the seed's number."""
    names = fields.pop("label_names", NAMES)
    if image is None:
        pixels = make_pixels(seed_id, variant, fields.pop("size", 16))
        image_format = fields.pop("image_format", "png")
        image = records.encode_image(pixels, image_format=image_format, quality=90)
    usual = {
        "label": seed_id % len(names),
        "label_name": names[seed_id % len(names)],
        "seed_name": f"dir/{seed_id}.jpg",
        "prompt": 'A photo, of "ünï cödé"',
        "method": "dreamda",
        "key": (4_000_000_000 + seed_id, variant),
    }
    return Record(image=image, seed_id=seed_id, variant=variant, **{**usual, **fields})


def make_records(seed_ids, *, variants: int = 2, image_format="png", size: int = 16):
    return [
        make_record(seed_id, variant, image_format=image_format, size=size)
        for seed_id in seed_ids
        for variant in range(variants)
    ]


def new_layout(directory: Path, *, num_seeds: int = 5, seeds_per_shard: int = 2) -> Layout:
    return Layout.for_seeds(
        directory, name="fashion20", num_seeds=num_seeds, seeds_per_shard=seeds_per_shard
    )


def write_all(layout: Layout, **options) -> None:
    for shard in range(layout.num_shards):
        shards.write_shard(layout, shard, make_records(layout.seed_ids(shard), **options), [])


def finish(layout: Layout, image_format="png") -> dataset.Summary:
    return dataset.finish(
        layout, label_names=NAMES, image_shape=(16, 16, 3), image_format=image_format
    )

"""Small sets of images, a configuration that trains on them in seconds, and a stop on demand."""

import functools
import io
import threading
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image

from configs import fashion
from dreamda_jax.data.sets import dataset, records, shards
from dreamda_jax.data.sources import Example
from dreamda_jax.data.sources.sample_source import SampleSource
from tests.support.small_records import make_record

CLASSES = ("bag", "sandal", "trousers")
AMST_THRESHOLD = 0.055


def make_folder(directory: Path, *, split: str, per_class: int, classes=CLASSES) -> Path:
    """`per_class` 32-pixel PNG of each class, from the packaged sample."""
    for name in classes:
        (directory / name).mkdir(parents=True)
        for file, content in _png_files(split, name, per_class):
            (directory / name / file).write_bytes(content)
    return directory


@functools.cache
def _png_files(split: str, label_name: str, count: int) -> list[tuple[str, bytes]]:
    """Name and content of the first images of a class."""
    files = []
    for example in _examples(split, label_name)[:count]:
        Image.fromarray(np.asarray(example.content)).save(content := io.BytesIO(), "PNG")
        files.append((f"{example.name}.png", content.getvalue()))
    return files


@functools.cache
def _examples(split: str, label_name: str) -> list[Example]:
    """A class of the packaged sample, in its order."""
    source = SampleSource(split=split)
    label = source.label_names.index(label_name)
    return [
        example for example in map(source.__getitem__, range(len(source))) if example.label == label
    ]


def make_config(directory: Path, **train: Any) -> dict[str, Any]:
    """Three classes, 8 training, 4 validation and 4 test images of each; makes what is absent."""
    config = fashion.get_config()
    for split, per_class in (("train", 8), ("validation", 4), ("test", 4)):
        if not (directory / split).exists():
            make_folder(directory / split, split=split, per_class=per_class)
    config = config.to_dict()
    config["source"] = {"kind": "folder", "path": str(directory / "train")}
    config["validation"] = {"path": str(directory / "validation")}
    config["test"] = {"path": str(directory / "test")}
    config["train"] |= {
        "output": str(directory / "classifier"),
        "batch_size": 8,
        "num_steps": 4,
        "checkpoint_every": 2,
        "log_every": 1,
        **train,
    }
    return config


def grey(seed: int, variant: int) -> np.ndarray:
    """A grey square, the same for all variants."""
    return np.full((32, 32, 3), 40 * seed, np.uint8)


def garment(seed: int, variant: int) -> np.ndarray:
    """A training image of class `seed % 3`, darker with each variant."""
    example = _examples("train", CLASSES[seed % len(CLASSES)])[seed // len(CLASSES)]
    pixels = np.asarray(example.content, np.float32)
    return (pixels * (1 - 0.2 * variant)).astype(np.uint8)


def make_synthetic(
    directory: Path,
    label_names=CLASSES,
    *,
    seeds: int = 4,
    variants: int = 2,
    pixels: Callable[[int, int], np.ndarray] = grey,
    broken: Collection[tuple[int, int]] = (),
) -> Path:
    """A finished synthetic set; the images (seed, variant) in `broken` are cut off."""
    layout = shards.Layout.for_seeds(directory, name="small", num_seeds=seeds, seeds_per_shard=2)
    directory.mkdir(parents=True)

    def write(shard: int, broken: Collection[tuple[int, int]]) -> None:
        made = []
        for seed in layout.seed_ids(shard):
            for variant in range(variants):
                image = records.encode_image(pixels(seed, variant), image_format="png", quality=95)
                made.append(
                    make_record(
                        *(seed, variant),
                        image=image[:60] if (seed, variant) in broken else image,
                        label_names=label_names,
                        seed_name=f"seed{seed}",
                        prompt="",
                        key=(0, seed),
                    )
                )
        shards.write_shard(layout, shard, made, [])

    for shard in range(layout.num_shards):
        write(shard, ())
    dataset.finish(layout, label_names=label_names, image_shape=(32, 32, 3), image_format="png")
    for shard in {seed // layout.seeds_per_shard for seed, _ in broken}:
        with mock.patch.object(shards, "_compare_and_decode"):  # which would find it
            write(shard, broken)
    return directory


def make_amst_config(directory: Path, **amst: Any) -> dict[str, Any]:
    """AMST over `make_config`'s images and six seeds' two variants in `directory/made`.

    With this seed the heads agree on every image after two steps, and the uncertainties lie on both
    sides of `AMST_THRESHOLD`.
    """
    made = directory / "made"
    if not made.exists():
        make_synthetic(made, seeds=6, pixels=garment)
    config = make_config(directory, method="amst", num_steps=2, seed=5)
    config["output"]["path"] = str(made)
    config["strong"] |= {"rand_augment": False, "random_erasing": 0.5}  # compiles in a third
    few = {"stage1_steps": 2, "num_passes": 4, "dropout_rate": 0.1}
    config["amst"] |= {**few, "threshold": AMST_THRESHOLD, **amst}
    return config


class StopAfter(threading.Event):
    """Set once it was asked `count` times: after that many steps or batches."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._left = count

    def is_set(self) -> bool:
        """Counts the question."""
        self._left -= 1
        return self._left < 0

"""A small image folder and a configuration that trains on it in seconds."""

from pathlib import Path
from typing import Any

from PIL import Image

from configs import fashion
from dreamda_jax.data.sample_source import SampleSource

CLASSES = ("bag", "sandal", "trousers")


def make_folder(directory: Path, *, split: str, per_class: int, classes=CLASSES) -> Path:
    """`per_class` 32-pixel PNG of each class, from the packaged sample."""
    source = SampleSource(split=split)
    counts = dict.fromkeys(classes, 0)
    for index in range(len(source)):
        example = source[index]
        name = source.label_names[example.label]
        if counts.get(name, per_class) < per_class:
            counts[name] += 1
            path = directory / name / f"{example.name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(example.content).save(path)
    return directory


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

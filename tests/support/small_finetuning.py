"""A fine-tuning of the micro model on a few images, which takes seconds."""

import threading
from pathlib import Path
from typing import Any

from configs import fashion
from dreamda_jax.finetune import __main__ as finetune
from tests.support.small_training import make_folder


def make_config(directory: Path, checkpoint: Path, **finetuning: Any) -> dict[str, Any]:
    """Three classes, four images of each at 8 pixels; makes the images if they are absent."""
    config = fashion.get_config().to_dict()
    images = directory / "images"
    if not images.exists():
        make_folder(images, split="train", per_class=4)
    config["model"]["path"] = str(checkpoint)
    config["source"] = {"kind": "folder", "path": str(images)}
    config["image"]["resolution"] = 8
    config["finetune"] |= {
        "output": str(directory / "finetuned"),
        "cache": str(directory / "cache"),
        "num_steps": 4,
        "batch_size": 4,
        "learning_rate": 1e-3,
        "warmup_steps": 0,
        "checkpoint_every": 2,
        "log_every": 1,
        "num_samples": 0,
        "sample_steps": 2,
        **finetuning,
    }
    return config


def run(
    config: dict[str, Any], stop: threading.Event | None = None, *, dry: bool = False
) -> int | None:
    """As the entry point does."""
    return finetune._finetune(config, dry, stop or threading.Event())

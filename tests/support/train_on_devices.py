"""Trains for a few steps and prints the losses as JSON; run as a process of its own.

    python -m tests.support.train_on_devices DIRECTORY FSDP METHOD

How many devices there are is said by XLA_FLAGS.
"""

import json
import sys
import threading
from pathlib import Path
from typing import Any

import jax

from dreamda_jax.data.sets.verdicts import read_verdicts
from dreamda_jax.runtime.log import read_log
from dreamda_jax.train import build
from dreamda_jax.train.methods import open_method
from dreamda_jax.train.supervised import SupervisedTraining
from tests.support.small_training import make_amst_config, make_config


def main() -> None:
    """Trains by the method named, and prints what it measured."""
    directory, fsdp = Path(sys.argv[1]), int(sys.argv[2])
    methods = {"supervised": supervised, "amst": self_training}
    print(json.dumps({"devices": jax.device_count(), **methods[sys.argv[3]](directory, fsdp)}))


def supervised(directory: Path, fsdp: int) -> dict[str, Any]:
    """Five steps with every augmentation whose draws could depend on a row's place."""
    output = directory / f"devices-{jax.device_count()}-{fsdp}"
    config = make_config(directory, output=str(output), fsdp=fsdp, num_steps=5, ema_decay=0.9)
    config["augment"] |= {"rand_augment": True, "cutmix": 1.0, "random_erasing": 0.5}
    training = open_method(build.training(config))
    assert isinstance(training, SupervisedTraining)
    result = training.train(0, threading.Event())
    assert result is not None
    programs = training.programs
    start = programs.main_start(programs.first_variables(0))
    state = programs.main_stage.first_state(*start)
    largest = max(jax.tree.leaves(state.params), key=lambda leaf: leaf.size)
    return {
        "share": largest.addressable_shards[0].data.size / largest.size,
        "losses": losses(output / "run-0"),
        "accuracy": result.test_accuracy,
    }


def self_training(directory: Path, fsdp: int) -> dict[str, Any]:
    """AMST whose heads judge views of their own, with every draw of the strong view."""
    output = directory / f"amst-{jax.device_count()}"
    config = make_amst_config(directory, label_view="own")
    config["strong"]["rand_augment"] = True
    config["train"] |= {"output": str(output), "fsdp": fsdp}
    assert open_method(build.training(config)).train(0, threading.Event()) is not None
    verdicts = read_verdicts(output / "run-0" / "round-1" / "verdicts.parquet")[0]
    return {
        "stage1": losses(output / "run-0" / "stage1"),
        "stage3": losses(output / "run-0" / "round-1"),
        **{
            name: getattr(verdicts, name).tolist()
            for name in ("predictions", "accepted", "uncertainty", "probabilities")
        },
    }


def losses(run: Path) -> list[float]:
    """Of every step."""
    return [row["train/loss"] for row in read_log(run) if "train/loss" in row]


if __name__ == "__main__":
    main()

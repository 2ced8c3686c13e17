"""Trains for a few steps and prints the losses as JSON; run as a process of its own.

    python -m tests.training.train_on_devices DIRECTORY FSDP

How many devices there are is said by XLA_FLAGS.
"""

import json
import sys
import threading
from pathlib import Path

import jax

from dreamda_jax import build_training
from dreamda_jax.report.training_log import read_log
from dreamda_jax.training_programs import Programs
from dreamda_jax.training_run import SupervisedTraining
from tests.small_training import make_config


def main() -> None:
    """Five steps with every augmentation whose draws could depend on a row's place."""
    directory, fsdp = Path(sys.argv[1]), int(sys.argv[2])
    output = directory / f"devices-{jax.device_count()}-{fsdp}"
    config = make_config(directory, output=str(output), fsdp=fsdp, num_steps=5, ema_decay=0.9)
    config["augment"] |= {"rand_augment": True, "cutmix": 1.0, "random_erasing": 0.5}
    parts = build_training.training(config)
    training = SupervisedTraining(parts)
    result = training.train(0, threading.Event())
    assert result is not None
    state = training.stage.first_state(Programs(parts).first_variables(0), None)
    largest = max(jax.tree.leaves(state.params), key=lambda leaf: leaf.size)
    print(
        json.dumps(
            {
                "devices": jax.device_count(),
                "share": largest.addressable_shards[0].data.size / largest.size,
                "losses": [r["train/loss"] for r in read_log(output / "run-0") if "train/loss" in r],
                "accuracy": result.test_accuracy,
            }
        )
    )


if __name__ == "__main__":
    main()

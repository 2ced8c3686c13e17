"""Fine-tunes for a few steps, several times, and prints what came of it; a process of its own.

    python -m tests.support.finetune_on_devices DIRECTORY CHECKPOINT JOBS

How many devices there are is said by XLA_FLAGS; JOBS is JSON, by name fields of section "finetune".
"""

import json
import sys
from pathlib import Path
from typing import Any

import jax

from dreamda_jax.finetune import build, run
from dreamda_jax.models.stable_diffusion import loading
from dreamda_jax.runtime.log import read_log
from tests.support.small_finetuning import make_config
from tests.support.small_finetuning import run as finetune


def main() -> None:
    """Prints for each job its losses and the share of the largest arrays on a device."""
    directory, checkpoint, jobs = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
    measured = {name: train(directory, checkpoint, name, jobs[name]) for name in jobs}
    print(json.dumps({"devices": jax.device_count(), **measured}))


def train(directory: Path, checkpoint: Path, name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Three steps of sixteen images."""
    config = make_config(
        directory,
        checkpoint,
        output=str(directory / name),
        batch_size=16,
        num_steps=3,
        checkpoint_every=3,
        learning_rate=1e-4,
        **options,
    )
    assert finetune(config) == 0
    rows = read_log(directory / name)
    return {
        "losses": [row["train/loss"] for row in rows],
        "norms": [row["train/gradient_norm"] for row in rows],
        "shares": shares(config),
    }


def shares(config: dict[str, Any]) -> dict[str, float]:
    """What one device holds of the largest array of parameters, average and optimizer state."""
    parts = build.finetuning(
        config, num_devices=jax.device_count(), open_networks=build.open_checkpoint
    )
    params = loading.load_params(parts.model, parts.files)
    state = run.open_programs(parts.model, parts.adaptation, parts.job).first_state(params)
    found = {}
    for name in ("params", "ema", "opt_state"):
        largest = max(jax.tree.leaves(getattr(state, name)), key=lambda leaf: leaf.size)
        found[name] = largest.addressable_shards[0].data.size / largest.size
    return found


if __name__ == "__main__":
    main()

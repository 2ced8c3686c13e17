"""Fine-tunes for a few steps and prints what came of it as JSON; run as a process of its own.

    python -m tests.finetuning.finetune_on_devices DIRECTORY CHECKPOINT OPTIONS

How many devices there are is said by XLA_FLAGS; OPTIONS are fields of section "finetune" as JSON.
"""

import json
import sys
from pathlib import Path

import jax
import numpy as np

from dreamda_jax.finetuning import build, run
from dreamda_jax.models.stable_diffusion import abstract_params
from dreamda_jax.report.training_log import read_log
from tests.small_finetuning import make_config
from tests.small_finetuning import run as finetune


def main() -> None:
    """Trains, prints losses, the share of the largest array on a device, and the sheet's digest."""
    directory, checkpoint, options = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
    config = make_config(directory, checkpoint, batch_size=8, num_steps=3, **options)
    assert finetune(config) == 0
    output = Path(config["finetune"]["output"])
    parts = build.finetuning(config)
    programs = run.open_programs(parts)
    start = jax.tree.map(
        lambda leaf: np.zeros(leaf.shape, leaf.dtype), abstract_params(parts.model)
    )
    state = programs.first_state(start)
    shares = {}
    for name in ("params", "ema", "opt_state"):
        largest = max(jax.tree.leaves(getattr(state, name)), key=lambda leaf: leaf.size)
        shares[name] = largest.addressable_shards[0].data.size / largest.size
    rows = read_log(output)
    print(
        json.dumps(
            {
                "devices": jax.device_count(),
                "losses": [row["train/loss"] for row in rows],
                "norms": [row["train/gradient_norm"] for row in rows],
                "shares": shares,
            }
        )
    )


if __name__ == "__main__":
    main()

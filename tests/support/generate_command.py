"""`python -m dreamda_jax.generate` on a micro model, as a process to start, watch and stop."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support import warm_start
from tests.support.paths import ROOT
from tests.support.xla import QUICK

SEEDS, VARIANTS, SEEDS_PER_SHARD = 18, 2, 2


def command(
    output: Path, model: Path, *overrides: str, config: str = "configs/fashion.py"
) -> list[str]:
    return [
        *(sys.executable, "-m", "dreamda_jax.generate", "--config", config),
        f"--config.output.path={output}",
        f"--config.model.path={model}",
        "--config.image.resolution=8",
        f"--config.synthesis.max_seeds={SEEDS}",
        f"--config.synthesis.num_variants={VARIANTS}",
        f"--config.synthesis.seeds_per_shard={SEEDS_PER_SHARD}",
        "--config.synthesis.seeds_per_device=1",
        "--config.method.num_inference_steps=10",
        *overrides,
    ]


def environment(devices: int) -> dict[str, str]:
    return os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} {QUICK}"}


def generate(
    output: Path, model: Path, *overrides: str, devices: int = 1, **kwargs: str
) -> subprocess.CompletedProcess[str]:
    return warm_start.run(
        command(output, model, *overrides, **kwargs),
        cwd=ROOT,
        env=environment(devices),
    )


def contents(directory: Path) -> dict[str, bytes]:
    """Every file of a data set but those that name the machine, the process or the time."""
    apart = ("versions.json", ".lock", "production-")
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and not path.name.startswith(apart)
    }


def markers(directory: Path) -> int:
    return len(list(directory.glob("done/[!.]*.json")))  # none that is being written

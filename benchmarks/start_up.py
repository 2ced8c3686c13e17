"""How long `python -m dreamda_jax.generate` takes to start, with an empty and a full program cache.

    python benchmarks/start_up.py
    python benchmarks/start_up.py --config=configs/fashion.py:sdedit --rounds=1

Whole processes on the embedded model, one batch of one device each: first with an empty cache of
compiled programs, then again with what that start left there. Compilations are those that JAX
itself counts: programs asked for, and of them those found in the cache.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from absl import flags
from reporting import machine, print_json, print_table

from dreamda_jax.errors import UserError
from dreamda_jax.settings import command_line

ROOT = Path(__file__).resolve().parent.parent
_COUNTED = ROOT / "benchmarks" / "counted_generate.py"

flags.DEFINE_string("config", str(ROOT / "configs" / "fashion.py"), "What to make.")
flags.DEFINE_integer("rounds", 3, "Pairs of starts.", lower_bound=1)

_EVENTS = "/jax/compilation_cache/"


class Start(NamedTuple):
    """One process.

    Attributes:
      summary: seconds until the summary was printed: imports, opening everything, pricing.
      total: seconds until it had ended.
      programs: that were asked for.
      found: of them, those in the cache.
    """

    summary: float
    total: float
    programs: int
    found: int


def main() -> None:
    """Starts, measures, prints."""
    empty, full = [], []
    for _ in range(flags.FLAGS.rounds):
        with tempfile.TemporaryDirectory() as directory:
            empty.append(start(Path(directory), "first"))
            full.append(start(Path(directory), "second"))
    rows = {"empty cache": empty, "full cache": full}
    medians = {
        name: Start(*(statistics.median(column) for column in zip(*starts, strict=True)))
        for name, starts in rows.items()
    }
    print_table(
        f"one batch of {flags.FLAGS.config}, median of {flags.FLAGS.rounds} ({machine()})",
        ["", "until the summary, s", "until the end, s", "programs", "in the cache"],
        [[name, *median] for name, median in medians.items()],
    )
    print_json(
        {
            f"{name.replace(' ', '_')}_{field}": value
            for name, median in medians.items()
            for field, value in median._asdict().items()
        }
    )


def start(directory: Path, name: str) -> Start:
    """Runs the entry point.

    Args:
      directory: of the cache and the outputs.
      name: of the output.

    Raises:
      UserError: it failed.
    """
    counts = directory / f"{name}.json"
    command = [sys.executable, str(_COUNTED), str(counts), f"--config={flags.FLAGS.config}"]
    command += ["--config.synthesis.max_seeds=10", f"--config.output.path={directory / name}"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(directory / "cache")}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    begun, summary, line = time.monotonic(), 0.0, ""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("output "):
            summary = time.monotonic() - begun
    process.wait()
    total = time.monotonic() - begun
    if process.returncode:
        raise UserError(f"generate ended with code {process.returncode}: {line.strip()}")
    events = json.loads(counts.read_text())
    return Start(
        summary,
        total,
        events.get(f"{_EVENTS}compile_requests_use_cache", 0),
        events.get(f"{_EVENTS}cache_hits", 0),
    )


if __name__ == "__main__":
    command_line.run(main)

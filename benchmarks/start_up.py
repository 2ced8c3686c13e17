"""How long commands take to start, with an empty and a full program cache.

    python benchmarks/start_up.py
    python benchmarks/start_up.py --commands=generate --config=configs/fashion.py:sdedit --rounds=1

Whole processes on the embedded model and data: `generate` makes a batch, `train` and `finetune` a
few steps, `evaluate` looks at what was made. First with an empty cache of compiled programs, then
again with what that start left there. Compilations are those that JAX itself counts: programs asked
for, and of them those found in the cache. CPU seconds are those until the first batch or step had
been started; on an idle machine they are the waiting time or more.
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
from counted_command import FIRST_BATCH
from reporting import machine, print_json, print_table

from dreamda_jax.errors import UserError
from dreamda_jax.settings import command_line

ROOT = Path(__file__).resolve().parent.parent
_COUNTED = ROOT / "benchmarks" / "counted_command.py"
_EVENTS = "/jax/compilation_cache/"
_SMALL = {
    "generate": ["--config.synthesis.max_seeds=10", "--config.output.path={output}"],
    "train": ["--config.train.num_steps=4", "--config.train.output={output}"],
    "evaluate": [
        *("--synthetic={made}", "--config.evaluate.clip=False"),
        *("--config.evaluate.output={output}", "--config.evaluate.cache={output}_features"),
    ],
    "finetune": [
        *("--config.finetune.num_steps=2", "--config.finetune.num_samples=0"),
        *("--config.finetune.output={output}", "--config.finetune.cache={output}_latents"),
    ],
}
"""By command the flags that make it short."""

flags.DEFINE_string("config", str(ROOT / "configs" / "fashion.py"), "What to make.")
flags.DEFINE_list("commands", list(_SMALL), f"Of {', '.join(_SMALL)}.")
flags.DEFINE_integer("rounds", 3, "Pairs of starts.", lower_bound=1)
flags.DEFINE_string("package", str(ROOT), "Of which checkout: another one's is the comparison.")


class Start(NamedTuple):
    """One process.

    Attributes:
      summary: seconds until the summary was printed: imports, opening everything, pricing.
      total: seconds until it had ended.
      cpu: seconds of CPU time until the first batch or step had been started.
      programs: that were asked for.
      found: of them, those in the cache.
    """

    summary: float
    total: float
    cpu: float
    programs: int
    found: int


def main() -> None:
    """Starts, measures, prints."""
    unknown = set(flags.FLAGS.commands) - _SMALL.keys()
    if unknown:
        raise UserError(f"--commands={','.join(unknown)}: choose among {', '.join(_SMALL)}")
    starts: dict[str, list[Start]] = {}
    with tempfile.TemporaryDirectory() as name:
        made = Path(name) / "made"
        if "evaluate" in flags.FLAGS.commands:
            start("generate", Path(name), output=made, made=made)
        for number in range(flags.FLAGS.rounds):
            for command in flags.FLAGS.commands:
                directory = Path(name) / f"{command}-{number}"
                for cache in ("empty", "full"):
                    one = start(command, directory, output=directory / cache, made=made)
                    starts.setdefault(f"{command}, {cache} cache", []).append(one)
    medians = {
        name: Start(*(statistics.median(column) for column in zip(*each, strict=True)))
        for name, each in starts.items()
    }
    print_table(
        f"{flags.FLAGS.config}, median of {flags.FLAGS.rounds} ({machine()})",
        [
            *("", "until the summary, s", "until the end, s", "CPU until the first batch, s"),
            *("programs", "in the cache"),
        ],
        [[name, *median] for name, median in medians.items()],
    )
    print_json(
        {
            f"{name.replace(', ', '_').replace(' ', '_')}_{field}": value
            for name, median in medians.items()
            for field, value in median._asdict().items()
        }
    )


def start(name: str, directory: Path, *, output: Path, made: Path) -> Start:
    """Runs a command.

    Args:
      name: of the command.
      directory: of the cache and of the counts.
      output: where it writes.
      made: a set that `evaluate` looks at.

    Raises:
      UserError: it failed.
    """
    directory.mkdir(parents=True, exist_ok=True)
    counts = directory / "counts.json"
    command = [sys.executable, str(_COUNTED), str(counts), name, f"--config={flags.FLAGS.config}"]
    command += [flag.format(output=output, made=made) for flag in _SMALL[name]]
    environment = os.environ | {
        "PYTHONPATH": flags.FLAGS.package,
        "XDG_CACHE_HOME": str(directory / "cache"),
    }
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    begun, summary, line = time.monotonic(), 0.0, ""
    process = subprocess.Popen(
        command,
        cwd=flags.FLAGS.package,
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
        raise UserError(f"{name} ended with code {process.returncode}: {line.strip()}")
    measured = json.loads(counts.read_text())
    return Start(
        summary,
        total,
        measured.get(FIRST_BATCH, 0.0),
        measured.get(f"{_EVENTS}compile_requests_use_cache", 0),
        measured.get(f"{_EVENTS}cache_hits", 0),
    )


if __name__ == "__main__":
    command_line.run(main)

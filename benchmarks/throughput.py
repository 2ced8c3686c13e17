"""Images per second on the embedded model, and how long the device waited for the host.

    python benchmarks/throughput.py
    python benchmarks/throughput.py --num_seeds=200 --num_variants=10 --rounds=1

The real engine with configs/fashion.py: Grain decodes the seeds, the device makes their variants,
images are encoded as PNG, shards are written to a temporary directory and read back, the contact
sheet is redrawn. One pipeline serves all rounds, after a warm-up of one batch, so compilation is
left out. "images/s" and "waited" are the engine's own figures, from the end of a round's first
batch to the end of its last; "with start and end" divides by the whole round on the clock, the
filling and emptying of the pipeline included.
"""

import dataclasses
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags
from ml_collections import config_flags
from reporting import machine, print_json, print_table

from dreamda_jax.generate import build, engine, run
from dreamda_jax.runtime import devices
from dreamda_jax.settings import command_line
from dreamda_jax.synthesis.pipeline import DreamDAPipeline

ROOT = Path(__file__).resolve().parent.parent

sys.path.append(str(ROOT))  # configurations import their neighbours
config_flags.DEFINE_config_file(
    "config", str(ROOT / "configs" / "fashion.py"), "What to make; its output.path is not used."
)
flags.DEFINE_integer("num_seeds", 60, "Seed images of a round; 0 is all there are.", lower_bound=0)
flags.DEFINE_integer("num_variants", 4, "Images made of each.", lower_bound=1)
flags.DEFINE_integer("rounds", 3, "How often the set is made.", lower_bound=1)


class Round(NamedTuple):
    """One making of the whole set."""

    made: engine.Statistics
    wall_seconds: float


def main() -> None:
    """Warms up, measures rounds, prints."""
    config = command_line.read_config()
    config["synthesis"] |= {
        "max_seeds": flags.FLAGS.num_seeds,
        "num_variants": flags.FLAGS.num_variants,
    }
    checked = build.generation(config)
    making = checked.making
    pipeline = DreamDAPipeline(checked.networks.model)
    params = run.load_params(checked.networks, making.method)
    batch = making.synthesis.seeds_per_device * devices.local_device_count()
    start = time.monotonic()
    make_set(making, pipeline, params, num_seeds=min(batch, making.layout.num_seeds))
    warm_up = time.monotonic() - start
    rounds = [
        make_set(making, pipeline, params, num_seeds=making.layout.num_seeds)
        for _ in range(flags.FLAGS.rounds)
    ]
    if not all(r.made.seconds for r in rounds):
        raise SystemExit(f"nothing was measured: more than one batch of {batch} seeds is needed")
    rates = [r.made.images_in_seconds / r.made.seconds for r in rounds]
    wall_rates = [r.made.images / r.wall_seconds for r in rounds]
    shares = [r.made.device_wait_share for r in rounds]
    columns = list(zip(wall_rates, rates, [100 * share for share in shares], strict=True))
    made = rounds[0].made
    print_table(
        f"{made.images} images in {made.batches} batches ({machine()}); "
        f"warm-up {warm_up:.0f} s, compilation included",
        ["round", "with start and end, images/s", "images/s", "waited, %"],
        [
            *([i + 1, *row] for i, row in enumerate(columns)),
            *(
                [name, *(pick(column) for column in zip(*columns, strict=True))]
                for name, pick in (("min", min), ("median", statistics.median), ("max", max))
            ),
        ],
    )
    print_json(
        {
            "images_per_second": statistics.median(rates),
            "images_per_second_min": min(rates),
            "images_per_second_max": max(rates),
            "images_per_second_with_start_and_end": statistics.median(wall_rates),
            "device_wait_share": statistics.median(shares),
            "device_wait_share_max": max(shares),
        }
    )


def make_set(
    making: build.Making, pipeline: DreamDAPipeline, params: Any, *, num_seeds: int
) -> Round:
    """Makes all variants of the first seeds, as `python -m dreamda_jax.generate` does."""
    with tempfile.TemporaryDirectory() as directory:
        layout = dataclasses.replace(
            making.layout,
            directory=Path(directory),
            num_seeds=num_seeds,
            num_shards=-(-num_seeds // making.layout.seeds_per_shard),
        )
        start = time.monotonic()
        made = run.make_missing(
            making._replace(layout=layout),
            pipeline,
            params,
            todo=list(range(layout.num_shards)),
            finished=[],
            stop=threading.Event(),
        )
        return Round(made, time.monotonic() - start)


if __name__ == "__main__":
    command_line.run(main)

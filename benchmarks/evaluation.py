"""Time and memory of the metrics of `evaluate` for sets of growing size.

    python benchmarks/evaluation.py
    python benchmarks/evaluation.py --images=5000,20000,80000 --num_features=2048 --skip=mmd,shares

Random features in memory maps on the disk, as many synthetic as real ones. Each metric runs in a
process of its own; "memory" is how much its resident set grew at most while it ran, the pages of
the mapped files left out (they are the page cache's, and given back when memory is short).
Compilation is part of the time.
"""

import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags
from reporting import machine, print_json, print_table

from dreamda_jax.algorithms.metrics import copies, jackknife, kid, mmd
from dreamda_jax.algorithms.metrics.neighbours import nearest_neighbours
from dreamda_jax.algorithms.metrics.precision_recall import precision_recall

FLAGS = flags.FLAGS
flags.DEFINE_list("images", ["2500", "5000", "10000"], "Numbers of images in each set.")
flags.DEFINE_integer("num_features", 256, "Of each image.", lower_bound=1)
flags.DEFINE_list("skip", [], "Metrics to leave out.")


def spacing(real: np.ndarray, synthetic: np.ndarray) -> float:
    """The neighbours that the search for copies compares with, and its scale."""
    nearest_neighbours(synthetic, real)
    own = nearest_neighbours(real, real, exclude_self=True)
    return copies.typical_spacing(own.distances[:, 0])


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], Any]] = {
    "fid": jackknife.fid_estimate,
    "kid": kid.kid,
    "mmd": lambda real, made: mmd.mmd(real, made, sigma=mmd.median_bandwidth(real)),
    "shares": precision_recall,
    "copies": spacing,
}


def main(_: list[str]) -> None:
    """Prints a line per metric and size."""
    sizes = [int(count) for count in FLAGS.images]
    names = [name for name in METRICS if name not in FLAGS.skip]
    figures: dict[str, Any] = {"num_features": FLAGS.num_features}
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for size in sizes:
            files = [_make(Path(scratch), which, size) for which in ("real", "synthetic")]
            for name in names:
                seconds, megabytes = _apart(name, files)
                rows.append([name, f"{size:,}", seconds, megabytes])
                figures |= {f"{name}_{size}_s": seconds, f"{name}_{size}_MB": megabytes}
    title = f"Metrics on {FLAGS.num_features} features ({machine()})"
    print_table(title, ["metric", "images", "s", "memory, MB"], rows)
    print_json(figures)


def _make(directory: Path, which: str, size: int) -> str:
    path = directory / f"{which}-{size}.npy"
    shape = (size, FLAGS.num_features)
    rows = np.lib.format.open_memmap(path, "w+", dtype=np.float32, shape=shape)
    rng = np.random.default_rng(len(which))
    for start in range(0, size, 1000):
        rows[start : start + 1000] = rng.normal(size=rows[start : start + 1000].shape)
    rows.flush()
    return str(path)


def _apart(name: str, files: list[str]) -> tuple[float, float]:
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_measure, (name, files))


def _measure(name: str, files: list[str]) -> tuple[float, float]:
    sets = [np.load(file, mmap_mode="r") for file in files]
    METRICS["copies"](*(rows[:64] for rows in sets))  # starts JAX, which takes memory once
    before, started = _anonymous_peak(), time.monotonic()
    METRICS[name](*sets)
    return time.monotonic() - started, _anonymous_peak() - before


def _anonymous_peak() -> float:
    """Megabytes of the largest resident set so far, without mapped files where the kernel tells."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        of = {line.split(":")[0]: line.split()[1] for line in lines if line.endswith("kB")}
        return (int(of["VmHWM"]) - int(of["RssFile"])) / 1e3
    except (OSError, KeyError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


if __name__ == "__main__":
    app.run(main)

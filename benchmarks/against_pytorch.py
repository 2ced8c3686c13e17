"""Seconds per image beside PyTorch diffusers: same weights, same machine, one run.

    pip install -e '.[parity]'
    python benchmarks/against_pytorch.py
    python benchmarks/against_pytorch.py --num_variants=1,10 --rounds=5

Three ways of making n variants of seeds of the embedded sample (configs/fashion.py: 20 executed
steps, guidance 3, float32), taken in turn in every round:

- official: the release's algorithm on PyTorch diffusers, image by image (pytorch_cycle.py);
- batched: this project's algorithm on PyTorch diffusers, as many seeds in a call as here;
- generate: the engine behind `python -m dreamda_jax.generate`, from decoding seeds to verified
  shards on the disk. Compilation is left out and stated; the engine's own clock begins with the
  end of its first batch.

The last line is JSON: `speedup_n<n>` is official / generate, `ratio_batched_n<n>` batched /
generate, and `ratio_batched` the smallest of those; above 1 this project is faster.
"""

import argparse
import importlib.util
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from reporting import machine, print_json, print_table

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))
SAMPLE = ROOT / "dreamda_jax" / "sample" / "tiny_sd"


def main() -> None:
    """Measures, prints a table and JSON."""
    flags = _parse_flags()
    import torch

    torch.set_num_threads(flags.threads)
    import pytorch_cycle

    ours = Ours()
    networks = pytorch_cycle.Networks(SAMPLE)
    settings = pytorch_cycle.Settings(**ours.settings)
    _check(pytorch_cycle, networks, settings, ours)
    rows, figures, compiled = [], {}, {}
    for n in flags.num_variants:
        size = ours.seeds_per_call
        ways: dict[str, Callable[[], float]] = {
            "official": lambda n=n: _timed(  # type: ignore[misc]
                lambda: pytorch_cycle.official(
                    networks, *ours.take(max(1, flags.official_images // n)), n, settings
                )
            ),
            "batched": lambda n=n, size=size: _timed(  # type: ignore[misc]
                lambda: pytorch_cycle.batched(
                    networks, *ours.take(2 * size), n, settings, seeds_per_call=size
                )
            ),
            "generate": lambda n=n: ours.seconds_per_image(n),  # type: ignore[misc]
        }
        compiled[n] = ours.compile(n)
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(flags.rounds):
            for name, run in ways.items():
                seconds[name].append(run())
        median = {name: statistics.median(values) for name, values in seconds.items()}
        figures[f"speedup_n{n}"] = median["official"] / median["generate"]
        figures[f"ratio_batched_n{n}"] = median["batched"] / median["generate"]
        rows.append([n, *(f"{median[name]:.4f}" for name in ways), *_spread(seconds["generate"])])
    figures["ratio_batched"] = min(v for k, v in figures.items() if k.startswith("ratio_batched_"))
    print_table(
        f"Seconds per image, median of {flags.rounds} rounds ({machine()}, torch "
        f"{torch.__version__}, {flags.threads} threads)",
        ["variants", "official", "batched", "generate", "generate from", "to"],
        rows,
    )
    print("compiled in " + ", ".join(f"{s:.0f} s (n={n})" for n, s in compiled.items()))
    print_json({name: round(value, 3) for name, value in figures.items()})


class Ours:
    """The engine on the embedded model."""

    def __init__(self) -> None:
        from dreamda_jax.data.loader import load_seeds
        from dreamda_jax.generate import build
        from dreamda_jax.generate import run as expand
        from dreamda_jax.synthesis.pipeline import DreamDAPipeline

        self._config = _read_config()
        checked = build.generation(self._config)
        making = checked.making
        self._pipeline = DreamDAPipeline(checked.networks.model)
        self._params = expand.load_params(checked.networks, making.method)
        method = self._config["method"]
        self.settings = {
            name: method[name]
            for name in ("num_inference_steps", "strength", "guidance_scale", "noise_scale")
        }
        self.seeds_per_call = making.synthesis.seeds_per_device
        seeds = load_seeds(
            making.source,
            range(len(making.source)),
            resolution=making.image.resolution,
            crop="center",
        )
        self._seeds = list(seeds)
        self._choose = making.choose_prompt

    def take(self, count: int) -> tuple[np.ndarray, list[str]]:
        """So many seed images, uint8 [count, h, w, 3], and their prompts."""
        chosen = [self._seeds[i * len(self._seeds) // count] for i in range(count)]
        images = np.stack([np.asarray(seed.pixels) for seed in chosen])
        return images, [self._choose(seed, 0) for seed in chosen]

    def compile(self, n: int) -> float:
        """Makes one batch; seconds, nearly all of them compilation."""
        start = time.monotonic()
        self._make(n, self.seeds_per_call)
        return time.monotonic() - start

    def seconds_per_image(self, n: int) -> float:
        """Of a run over five batches, from the end of the first."""
        made = self._make(n, 5 * self.seeds_per_call)
        return made.seconds / made.images_in_seconds

    def _make(self, n: int, num_seeds: int) -> Any:
        from dreamda_jax.generate import build
        from dreamda_jax.generate import run as expand

        config = {**self._config, "synthesis": dict(self._config["synthesis"])}
        config["synthesis"] |= {"num_variants": n, "max_seeds": num_seeds}
        with tempfile.TemporaryDirectory() as directory:
            config["output"] = {**config["output"], "path": f"{directory}/set"}
            making = build.generation(config).making
            return expand.make_missing(
                making,
                self._pipeline,
                self._params,
                todo=list(range(making.layout.num_shards)),
                finished=[],
                stop=threading.Event(),
            )


def _check(pytorch_cycle: Any, networks: Any, settings: Any, ours: Ours) -> None:
    """Both PyTorch ways give the seed back without noise and guidance: they are the algorithm."""
    images, prompts = ours.take(2)
    still = settings._replace(guidance_scale=1.0, noise_scale=0.0)
    empty = ["" for _ in prompts]
    decoded = networks.decode(networks.encode_image(images)).astype(int)
    for made in (
        pytorch_cycle.official(networks, images, empty, 1, still),
        pytorch_cycle.batched(networks, images, empty, 1, still, seeds_per_call=2),
    ):
        error = np.abs(np.stack(made).astype(int) - decoded).max()
        if error > 1:
            sys.exit(f"the PyTorch version does not return its seeds: {error} grey levels off")


def _timed(run: Callable[[], list[Any]]) -> float:
    start = time.monotonic()
    made = run()
    return (time.monotonic() - start) / len(made)


def _spread(seconds: list[float]) -> list[str]:
    return [f"{min(seconds):.4f}", f"{max(seconds):.4f}"]


def _read_config() -> dict[str, Any]:
    spec = importlib.util.spec_from_file_location("config", ROOT / "configs" / "fashion.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config().to_dict()


def _parse_flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    numbers = lambda text: [int(part) for part in text.split(",")]  # noqa: E731
    parser.add_argument("--num_variants", type=numbers, default=[1, 3, 10], help="n, by commas.")
    parser.add_argument("--rounds", type=int, default=3, help="Of which the median is taken.")
    parser.add_argument(
        "--official_images", type=int, default=10, help="Made in a round by the official way."
    )
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count(), help="Of PyTorch; default: the CPU's cores."
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""The whole path at full size, once: Stable Diffusion 1.5 with random weights, 512x512 images.

    python benchmarks/full_size.py
    python benchmarks/full_size.py --directory=/tmp/full_size    # keeps the 2 GB checkpoint there

Makes a checkpoint in diffusers' layout (float16 safetensors) and a TFDS-layout set with the
features of oxford_iiit_pet from scikit-image's photographs, and runs configs/pets.py on them as a
user would, in a process of its own: two seeds, one variant each, a few steps, float32. Measures its
time and peak memory, and checks that the result opens as a TFDS data set of two such images. The
weights are random and so are the pictures.
"""

import argparse
import contextlib
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from reporting import machine, print_json, print_table

ROOT = Path(__file__).resolve().parent.parent
NUM_SEEDS = 2
RESOLUTION = 512
_COMPILED = re.compile(r"Finished XLA compilation of .* in ([\d.]+) sec")
_SPEED = re.compile(r"speed +([\d.e-]+) images/s")


class Run(NamedTuple):
    """What was measured of `python -m dreamda_jax.generate`, in seconds and bytes.

    Attributes:
      total: from start to exit.
      start_up: until the summary was printed: imports, opening everything, pricing.
      load: from then until the first program was compiled: mostly reading the weights.
      compile: what XLA spent on compiling.
      per_image: of the second image, compiled already.
      peak_memory: largest resident set of the process.
    """

    total: float
    start_up: float
    load: float
    compile: float
    per_image: float
    peak_memory: int


def main() -> None:
    """Prepares, runs, checks, prints."""
    flags = _parse_flags()
    with _directory(flags.directory) as directory:
        checkpoint, data, output = (directory / name for name in ("sd15", "pets", "expanded"))
        start = time.monotonic()
        if not (checkpoint / "model_index.json").exists():
            make_checkpoint(checkpoint)
        make_photographs(data)
        preparation = time.monotonic() - start
        shutil.rmtree(output, ignore_errors=True)  # an earlier run's: it would have nothing to do
        run = generate(checkpoint, data, output, num_inference_steps=flags.num_inference_steps)
        count = check(output)
    steps = int(flags.num_inference_steps * 0.8)
    print_table(
        f"configs/pets.py at full size, {steps} executed steps, float32 ({machine()})",
        ["", "figure"],
        [
            ["making checkpoint and photographs, s", preparation],
            ["start-up until the summary, s", run.start_up],
            ["loading the weights, s", run.load],
            ["compiling, s", run.compile],
            ["one image, compiled already, s", run.per_image],
            ["the whole run, s", run.total],
            ["peak memory, GB", run.peak_memory / 1e9],
            [f"images of {RESOLUTION}x{RESOLUTION} in the data set", count],
        ],
    )
    print_json(
        {
            "seconds": run.total,
            "start_up_seconds": run.start_up,
            "load_seconds": run.load,
            "compile_seconds": run.compile,
            "seconds_per_image": run.per_image,
            "executed_steps": steps,
            "peak_memory_gb": run.peak_memory / 1e9,
            "images": count,
        }
    )


def make_checkpoint(directory: Path) -> None:
    """Stable Diffusion 1.5's shapes with random weights, 2.1 GB."""
    maker = [sys.executable, "-m", "tests.support.make_checkpoint"]
    options = ["--size=sd15", "--dtype=float16", f"--output={directory}"]
    subprocess.run([*maker, *options], cwd=ROOT, check=True, env=_environment())


def make_photographs(directory: Path) -> None:
    """A prepared set "oxford_iiit_pet" of four photographs."""
    from skimage import data

    sys.path.append(str(ROOT))
    from tests.support.make_tfds import write_tfds_set

    names = ["astronaut", "chelsea", "coffee", "rocket"]
    images = [getattr(data, name)() for name in names]
    write_tfds_set(
        str(directory), "oxford_iiit_pet", "train", images, labels=range(4), label_names=names
    )


def generate(checkpoint: Path, data: Path, output: Path, *, num_inference_steps: int) -> Run:
    """Runs the entry point in a process of its own and measures it.

    Raises:
      RuntimeError: it failed.
    """
    fields = {
        "model.path": checkpoint,
        "model.dtype": "float32",
        "source.data_dir": data,
        "synthesis.max_seeds": NUM_SEEDS,
        "synthesis.num_variants": 1,
        "method.variants_per_pass": 1,
        "method.num_inference_steps": num_inference_steps,
        "output.path": output,
    }
    command = [sys.executable, "-m", "dreamda_jax.generate", "--config=configs/pets.py"]
    command += [f"--config.{name}={value}" for name, value in fields.items()]
    start = time.monotonic()
    summary = load = per_image = compiling = 0.0
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=_environment() | {"JAX_LOG_COMPILES": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        now = time.monotonic() - start
        if found := _COMPILED.search(line):
            compiling += float(found[1])
            if summary and not load:
                load = now - summary - float(found[1])
        elif not re.search(r"Finished|Compiling|jax\._src", line):
            print(line, end="", flush=True)
        if line.startswith("output "):
            summary = now
        elif found := _SPEED.match(line):
            per_image = 1 / float(found[1])
    if process.wait():
        raise RuntimeError(f"generate ended with code {process.returncode}")
    total = time.monotonic() - start
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    return Run(total, summary, load, compiling, per_image, peak)


def check(directory: Path) -> int:
    """How many images the data set has.

    Raises:
      RuntimeError: not the ones that should be there.
    """
    import tensorflow_datasets as tfds

    examples = list(tfds.builder_from_directory(str(directory)).as_data_source(split="train"))
    shapes = [example["image"].shape for example in examples]
    if shapes != [(RESOLUTION, RESOLUTION, 3)] * NUM_SEEDS:
        raise RuntimeError(f"the data set holds images of shapes {shapes}")
    return len(examples)


@contextlib.contextmanager
def _directory(given: str) -> Iterator[Path]:
    if given:
        Path(given).mkdir(parents=True, exist_ok=True)
        yield Path(given).resolve()
    else:
        with tempfile.TemporaryDirectory() as name:
            yield Path(name)


def _environment() -> dict[str, str]:
    return dict(os.environ) | {"PYTHONPATH": str(ROOT)}


def _parse_flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--directory", default="", help="work here and keep it; default: temporary")
    parser.add_argument("--num_inference_steps", type=int, default=5, help="N; 0.8 N are executed")
    return parser.parse_args()


if __name__ == "__main__":
    main()

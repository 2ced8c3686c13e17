"""How long it takes to know what a set of files is: at the first start, and at the next.

    python benchmarks/set_identity.py
    python benchmarks/set_identity.py --images=20000 --kilobytes=100 --directory=/data/scratch

JPEG files of one size in twenty classes, read from the page cache. The first start reads every
byte; the second finds the digests where the first left them; `--verify` reads all again.
"""

import argparse
import io
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from reporting import machine, print_json, print_table

from dreamda_jax.data.sources.folder import open_folder
from dreamda_jax.runtime.set_content import identity_of

_CLASSES = 20
_SETTLED_SECONDS = 3.0  # a file younger than two seconds is not remembered


class Took(NamedTuple):
    """Of one step: seconds on the clock, and CPU seconds of all threads."""

    wall: float
    cpu: float


def main() -> None:
    """Makes the files, measures, prints."""
    flags = _parse_flags()
    with tempfile.TemporaryDirectory(dir=flags.directory) as name:
        os.environ["XDG_CACHE_HOME"] = str(Path(name) / "cache")
        images = Path(name) / "images"
        make(images, count=flags.images, num_bytes=1000 * flags.kilobytes)
        time.sleep(_SETTLED_SECONDS)
        source, listing = timed(lambda: open_folder(images))
        steps = {"list the folder": listing}
        identities = []
        for step in ("first start", "second start", "--verify"):
            found, steps[step] = timed(
                lambda: identity_of(source, what="the images", verify=step == "--verify")  # noqa: B023
            )
            identities.append(found)
    assert len(set(identities)) == 1
    print_table(
        f"{flags.images:,} JPEG files of {flags.kilobytes} kB ({machine()})",
        ["", "seconds", "CPU seconds"],
        [[step, *took] for step, took in steps.items()],
    )
    print_json(
        {
            f"{step.strip('-').replace(' ', '_')}_{field}": value
            for step, took in steps.items()
            for field, value in took._asdict().items()
        }
    )


def make(directory: Path, *, count: int, num_bytes: int) -> None:
    """Writes JPEG files of exactly this size, no two alike, which decoders read.

    Args:
      directory: where the classes' folders are made.
      count: of files.
      num_bytes: of each.
    """
    rng = np.random.default_rng(0)
    side = int((num_bytes / 3) ** 0.5)
    noise = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(noise).save(encoded := io.BytesIO(), "JPEG", quality=75)
    for number in range(count):
        folder = directory / f"class_{number % _CLASSES:02}"
        folder.mkdir(parents=True, exist_ok=True)
        # What follows an image's end is read over.
        rest = rng.bytes(num_bytes - len(encoded.getvalue()))
        (folder / f"{number:06}.jpg").write_bytes(encoded.getvalue() + rest)


def timed(step: Callable[[], Any]) -> tuple[Any, Took]:
    """What a step returns, and how long it took."""
    wall, cpu = time.monotonic(), time.process_time()
    found = step()
    return found, Took(time.monotonic() - wall, time.process_time() - cpu)


def _parse_flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=20_000, help="Files.")
    parser.add_argument("--kilobytes", type=int, default=100, help="Of each.")
    parser.add_argument("--directory", type=Path, help="Where they are made for the while.")
    return parser.parse_args()


if __name__ == "__main__":
    main()

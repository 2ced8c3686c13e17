"""Ask an oracle about every image of a synthetic set, and keep what it says in a file.

    python -m dreamda_jax.reproduction.labels runs/fashion --oracle=sample --output=labels.json

A process of its own, as everything is that uses the devices: `reproduce` leaves them to its
children.
"""

import argparse
import sys
from pathlib import Path

from dreamda_jax.data.files import atomic
from dreamda_jax.errors import UserError


def main(argv: list[str]) -> int:
    """Writes {"oracle", "digest", "images", "share", "low", "high", "by_class"}."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("set", type=Path, help="A directory that generate made.")
    parser.add_argument("--oracle", required=True, help='A saved classifier, or "sample".')
    parser.add_argument("--output", type=Path, required=True, help="The file to write.")
    flags = parser.parse_args(argv)
    try:
        _ask(flags.set, flags.oracle, flags.output)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _ask(directory: Path, oracle: str, output: Path) -> None:
    from dreamda_jax.reproduce import (
        oracle_agreement,  # JAX takes seconds that --help should not cost
    )

    found = oracle_agreement.agreement(directory, oracle)
    if found.share is None:
        raise UserError(f"none of the images of {directory} can be decoded")
    content = {
        "oracle": oracle,
        "digest": found.digest,
        "images": found.num_images,
        "share": found.share.value,
        "low": found.share.low,
        "high": found.share.high,
        "by_class": found.by_class,
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_atomically(output, atomic.to_json(content))
    print(f"labels      {found.share.value:.1%} of {found.num_images:,} are the oracle's too")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

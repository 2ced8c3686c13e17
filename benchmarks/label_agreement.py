"""How often an oracle agrees with the labels of synthetic images: their seeds' labels.

    python benchmarks/label_agreement.py runs/fashion_x10 runs/fashion_finetuned_x10

Sets are directories that `python -m dreamda_jax.generate` made. The packaged oracle knows the
classes of the embedded sample and is right on 90 % of real images; `--oracle=DIRECTORY` is any
classifier that `python -m dreamda_jax.train` saved.
"""

import argparse
import tempfile
import threading
from pathlib import Path

from reporting import machine, print_json, print_table

from dreamda_jax.reproduce.labels import Agreement, agreement


def main() -> None:
    """Prints a column per set, a row per class."""
    flags = _parse_flags()
    sets: dict[str, Agreement] = {}
    for directory in flags.sets:
        with tempfile.TemporaryDirectory() as scratch:
            found = agreement(
                directory, flags.oracle, portions=Path(scratch), stop=threading.Event()
            )
        assert found is not None, "nobody stops it"
        sets[str(directory)] = found
    overall = {path: of.share.value if of.share else None for path, of in sets.items()}
    names = next(iter(sets.values())).by_class
    rows = [["all", *overall.values()]]
    rows += [[name, *(of.by_class.get(name) for of in sets.values())] for name in names]
    print_table(f"Labels that the oracle shares ({machine()})", ["", *sets], rows)
    print_json(overall)


def _parse_flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="+", type=Path, help="Directories that generate made.")
    parser.add_argument("--oracle", default="sample", help="A saved classifier.")
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""How often an oracle agrees with the labels of synthetic images: their seeds' labels.

    python benchmarks/label_agreement.py runs/fashion_x10 runs/fashion_finetuned_x10

Sets are directories that `python -m dreamda_jax.generate` made. The packaged oracle knows the
classes of the embedded sample and is right on 90 % of real images; `--oracle=DIRECTORY` is any
classifier that `python -m dreamda_jax.train` saved.
"""

import argparse
from pathlib import Path

import numpy as np
from oracle_labels import ask, share
from reporting import machine, print_json, print_table

from dreamda_jax.data.synthetic_source import SyntheticSource
from dreamda_jax.models.classifiers.oracle import open_oracle


def main() -> None:
    """Prints a column per set, a row per class."""
    flags = _parse_flags()
    sets = {str(directory): SyntheticSource(directory) for directory in flags.sets}
    columns, overall = [], {}
    names = next(iter(sets.values())).label_names
    for path, source in sets.items():
        found = ask(open_oracle(flags.oracle, source.label_names), source)
        labels = np.array([source[place].label for place in range(len(source))])
        hits, decoded = found == labels, found >= 0
        columns.append(
            [share(hits, decoded & (labels == label)) for label in range(len(source.label_names))]
        )
        overall[path] = share(hits, decoded)
    rows = [["all", *overall.values()]]
    rows += [
        [name, *values] for name, values in zip(names, zip(*columns, strict=True), strict=True)
    ]
    print_table(f"Labels that the oracle shares ({machine()})", ["", *sets], rows)
    print_json(overall)


def _parse_flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="+", type=Path, help="Directories that generate made.")
    parser.add_argument("--oracle", default="sample", help="A saved classifier.")
    return parser.parse_args()


if __name__ == "__main__":
    main()

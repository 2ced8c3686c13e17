"""What a threshold would have accepted, and how many synthetic images drifted from their seed.

    python benchmarks/label_thresholds.py --config configs/fashion.py \
        --config.data.synthetic=runs/fashion_x10 \
        --verdicts=runs/fashion_amst/run-0/round-1/verdicts.parquet

Reads verdicts that `train` wrote and asks the oracle about the synthetic images and their seeds;
nothing is trained. `--write=FILE` writes the verdicts with the oracle's labels on all images, to
train with as `amst.pseudo_labels=FILE`: what perfect labels would give.
"""

import tempfile
import threading
from pathlib import Path

import numpy as np
from absl import flags
from reporting import machine, print_json, print_table

from dreamda_jax.algorithms.selftrain.pseudo_label import agreement
from dreamda_jax.data import sources
from dreamda_jax.data.sets.verdicts import read_verdicts, write_verdicts
from dreamda_jax.models.classifiers.oracle import Oracle, open_oracle
from dreamda_jax.options.classifier import TrainingData
from dreamda_jax.reproduce.labels import ask, share
from dreamda_jax.settings import binding, command_line
from dreamda_jax.train.images import ConfiguredImages

FLAGS = flags.FLAGS
command_line.define_config_flag()
flags.DEFINE_string("verdicts", None, "Parquet file of AMST's verdicts.", required=True)
flags.DEFINE_string("oracle", "sample", "Directory of a classifier, or the packaged one.")
flags.DEFINE_list("thresholds", ["0.001", "0.003", "0.01", "0.03"], "To try.")
flags.DEFINE_string("write", None, "Where to write the verdicts with the oracle's labels.")


def _classes(oracle: Oracle, source: sources.Source) -> np.ndarray:
    """int32 [n]: the oracle's class of every image; -1 where it cannot be decoded."""
    with tempfile.TemporaryDirectory() as scratch:
        said = ask(oracle, source, portions=Path(scratch), stop=threading.Event())
    assert said is not None, "nobody stops it"
    return np.where(said["decoded"], said["classes"], -1)


def main() -> None:
    """Prints a line per threshold, and the drift."""
    config = command_line.read_config()
    images = ConfiguredImages(config)
    real = images.real()
    data = binding.bind(config, "data", TrainingData)
    synthetic = images.synthetic(data, label_names=real.label_names).source
    verdicts, label_names, head_names, metadata = read_verdicts(Path(FLAGS.verdicts))
    oracle = open_oracle(FLAGS.oracle, label_names)
    made, seeds = _classes(oracle, synthetic), _classes(oracle, real)
    truth = np.array([real[place].label for place in range(len(real))])

    agreed, label = agreement(verdicts.predictions), verdicts.predictions[:, 0]
    rows = []
    for threshold in map(float, FLAGS.thresholds):
        kept = agreed & verdicts.decoded & (verdicts.uncertainty < threshold)
        rows.append(
            [
                f"{threshold:g}",
                f"{kept.sum():,}",
                share(label == made, kept),
                share(verdicts.seed_label == made, kept),
                f"{(kept & (label != verdicts.seed_label)).sum():,}",
            ]
        )
    columns = ["threshold", "accepted", "precision", "seed labels' precision", "changed"]
    print_table(f"Thresholds on {len(label):,} images ({machine()})", columns, rows)
    known = (seeds == truth)[verdicts.seed_id]  # the oracle sees the seed as it is labelled
    drift = {
        "oracle_on_seeds": share(seeds == truth, np.ones_like(truth, bool)),
        "seed_labels_where_it_is_right": share(verdicts.seed_label == made, known),
        "amst_on_accepted_of_these": share(
            verdicts.pseudo_label == made, known & verdicts.accepted
        ),
        "seed_labels_on_rejected_of_these": share(
            verdicts.seed_label == made, known & ~verdicts.accepted
        ),
    }
    lines = [[name.replace("_", " "), value] for name, value in drift.items()]
    print_table("Labels that the oracle shares", ["", ""], lines)
    if FLAGS.write:
        everything = verdicts._replace(accepted=verdicts.decoded, pseudo_label=made)
        write_verdicts(
            Path(FLAGS.write),
            everything,
            label_names=label_names,
            head_names=head_names,
            metadata=metadata,
        )
    print_json(drift)


if __name__ == "__main__":
    command_line.run(main)

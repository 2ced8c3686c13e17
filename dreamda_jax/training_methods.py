"""The methods that `train` knows."""

import threading
from typing import Protocol

from dreamda_jax.amst_training import AmstTraining
from dreamda_jax.build_training import Training
from dreamda_jax.report.training_summary import RunResult
from dreamda_jax.softmatch_training import SoftMatchTraining
from dreamda_jax.training_run import SupervisedTraining


class Method(Protocol):
    """A way of training, compiled once for all runs of a job."""

    def train(self, run: int, stop: threading.Event) -> RunResult | None:
        """Run number `run` from its seed to its accuracy; None if `stop` was set."""


def open_method(parts: Training) -> Method:
    """The method that `parts.job.method` names."""
    methods: dict[str, type[Method]] = {
        "supervised": SupervisedTraining,
        "amst": AmstTraining,
        "softmatch": SoftMatchTraining,
    }
    return methods[parts.job.method](parts)  # type: ignore[call-arg]

"""The methods that `train` knows."""

import threading
from typing import Protocol

import jax

from dreamda_jax.runtime import devices
from dreamda_jax.train.amst_programs import AmstPrograms
from dreamda_jax.train.programs import Programs
from dreamda_jax.train.setups import AmstSetup, SoftMatchSetup, SupervisedSetup
from dreamda_jax.train.softmatch import SoftMatchPrograms, SoftMatchTraining
from dreamda_jax.train.summary import RunResult
from dreamda_jax.train.supervised import SupervisedPrograms, SupervisedTraining

AnySetup = SupervisedSetup | AmstSetup | SoftMatchSetup


class Method(Protocol):
    """A way of training, compiled once for all runs of a job."""

    def train(self, run: int, stop: threading.Event) -> RunResult | None:
        """Run number `run` from its seed to its accuracy; None if `stop` was set."""


def open_method(setup: AnySetup) -> Method:
    """The training of a setup, over all devices of the job.

    Raises:
      UserError: `train.fsdp` does not divide the devices, or a file of labels cannot be read.
    """
    mesh = devices.training_mesh(setup.job.fsdp)
    # One is imported: what AMST and its audit need takes a second that others need not wait.
    match setup:
        case AmstSetup():
            from dreamda_jax.train.amst import AmstTraining

            return AmstTraining(setup, AmstPrograms.of(setup, mesh))
        case SoftMatchSetup():
            return SoftMatchTraining(setup, SoftMatchPrograms.of(setup, mesh))
        case SupervisedSetup():
            return SupervisedTraining(setup, SupervisedPrograms.of(setup, mesh))


def open_programs(setup: AnySetup, mesh: jax.sharding.Mesh) -> Programs:
    """What `open_method` would run, compiled for other devices.

    Args:
      setup: of the training.
      mesh: the devices, which need not be here.
    """
    match setup:
        case AmstSetup():
            return AmstPrograms.of(setup, mesh)
        case SoftMatchSetup():
            return SoftMatchPrograms.of(setup, mesh)
        case SupervisedSetup():
            return SupervisedPrograms.of(setup, mesh)

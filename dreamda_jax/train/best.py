"""The weights that did best on the validation set."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dreamda_jax.runtime import agreement, devices
from dreamda_jax.runtime.checkpoint import Checkpoints
from dreamda_jax.runtime.log import read_log
from dreamda_jax.runtime.state import TrainState
from dreamda_jax.types import Params

METRIC = "validation/accuracy"


class Best:
    """Validates, and keeps the best weights in `directory/best`.

    Which were the best so far is read from the log, which a resumed training has cut back to the
    step it goes on from.

    Args:
      directory: of the run, with its log.
      measure: accuracy of variables on the validation set, in [0, 1]; None: there is no such set.
    """

    def __init__(self, directory: Path, measure: Callable[[Params], float] | None) -> None:
        self._measure = measure
        self._checkpoints = Checkpoints(directory / "best", keep=1) if measure else None
        self._directory = directory
        self._accuracy: float | None = None  # read when the log is open, and cut back

    def validate(self, state: TrainState) -> dict[str, float]:
        """The metrics of a state; its weights are kept if they are the best so far."""
        if self._measure is None or self._checkpoints is None:
            return {}
        if self._accuracy is None:
            known = []
            if devices.process_index() == 0:  # the others may not see the log
                known = [row[METRIC] for row in read_log(self._directory) if METRIC in row]
            self._accuracy = float(agreement.of_first(max(known, default=-1.0)))
        variables = state.variables
        reached = self._measure(variables)
        if reached > self._accuracy:
            self._accuracy = reached
            self._checkpoints.save(int(state.step), variables)
        return {METRIC: reached}

    def restore(self, like: Any) -> tuple[int, Params] | None:
        """(step, variables) of the best weights; None without a validation set."""
        return self._checkpoints.restore(like) if self._checkpoints else None

    def close(self) -> None:
        """Waits until they are on the disk."""
        if self._checkpoints is not None:
            self._checkpoints.close()

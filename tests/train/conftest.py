"""Trainings of one shape share their compiled programs; and what tests of pictures share."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from dreamda_jax.train import amst, softmatch, supervised
from dreamda_jax.train.build import Training
from dreamda_jax.train.optimizer import learning_rate_schedule
from dreamda_jax.train.programs import Programs
from dreamda_jax.train.self_training_programs import SelfTrainingPrograms

_OF_AMST = ("dropout_rate", "orthogonality_weight", "multi_head", "num_passes", "label_view")
_MADE: dict[str, Any] = {}


@pytest.fixture(scope="package", autouse=True)
def one_program_of_each_shape() -> Iterator[None]:
    """Tracing and compiling the steps are most of a small training's time."""

    def shared(kind: type[Programs]) -> Callable[[Training], Programs]:
        def open_programs(parts: Training) -> Programs:
            key = kind.__name__ + _shape(parts)
            if key not in _MADE:
                _MADE[key] = kind(parts)
            return _MADE[key]

        return open_programs

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supervised, "Programs", shared(_OneStage))
        for module in (amst, softmatch):
            patch.setattr(module, "SelfTrainingPrograms", shared(SelfTrainingPrograms))
        yield


class _OneStage(Programs):
    """A supervised training has one stage, whose loss follows from the configuration."""

    def stage(self, *args: Any, **numbers: Any) -> Any:
        if not hasattr(self, "_stage"):
            self._stage = super().stage(*args, **numbers)
        return self._stage


def _shape(parts: Training) -> str:
    """All that decides what `Programs` compiles, but the shapes of its arguments."""
    of = parts.self_training
    stages = [(parts.steps_per_epoch, parts.num_steps)]
    if of:
        stages.append((len(parts.real or ()) / parts.recipe.batch_size, parts.stage1_steps))
    rates = []
    for steps_per_epoch, num_steps in stages:
        numbers = {"steps_per_epoch": steps_per_epoch, "num_steps": num_steps}
        schedule = learning_rate_schedule(parts.recipe, **numbers)
        rates.append(np.asarray(schedule(np.arange(num_steps))).tolist())
    return repr(
        (
            *(parts.job.fsdp, parts.classifier, parts.augment, parts.recipe, parts.weights),
            *(parts.architecture.name, parts.label_names, parts.image_size, rates),
            of and (of.strong, of.consistency, [getattr(of.amst, name) for name in _OF_AMST]),
        )
    )


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved, to look at what is on them."""
    figures = []
    save = Figure.savefig

    def keep(figure, *args, **kwargs):
        figures.append(figure)
        save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures

"""Trainings of one shape share their compiled programs; and what tests of pictures share."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from dreamda_jax.train.amst_programs import AmstPrograms
from dreamda_jax.train.methods import AnySetup
from dreamda_jax.train.optimizer import learning_rate_schedule
from dreamda_jax.train.programs import Programs
from dreamda_jax.train.setups import AmstSetup, SoftMatchSetup
from dreamda_jax.train.softmatch import SoftMatchPrograms
from dreamda_jax.train.supervised import SupervisedPrograms

_OF_AMST = (
    *("dropout_rate", "orthogonality_weight", "multi_head", "num_passes", "label_view"),
    *("labelled_views", "consistency", "unlabelled_ratio"),
)
_MADE: dict[str, Any] = {}


@pytest.fixture(scope="package", autouse=True)
def one_program_of_each_shape() -> Iterator[None]:
    """Tracing and compiling the steps are most of a small training's time."""

    def shared(kind: type[Programs]) -> Any:
        make = kind.of  # type: ignore[attr-defined]

        def of(setup: AnySetup, mesh: Any) -> Programs:
            key = kind.__name__ + _shape(setup)
            if key not in _MADE:
                _MADE[key] = make(setup, mesh)
            return _MADE[key]

        return staticmethod(of)

    with pytest.MonkeyPatch.context() as patch:
        for kind in (SupervisedPrograms, AmstPrograms, SoftMatchPrograms):
            patch.setattr(kind, "of", shared(kind))
        yield


def _shape(setup: AnySetup) -> str:
    """All that decides what `Programs` compiles, but the shapes of its arguments."""
    lengths = [setup.length]
    of: list[Any] = []
    if isinstance(setup, AmstSetup):
        lengths.append(setup.stage1)
        soft = setup.amst.pseudo_labels == "soft"
        of = [setup.strong, setup.consistency, soft]
        of += [getattr(setup.amst, name) for name in _OF_AMST]
    if isinstance(setup, SoftMatchSetup):
        of = [setup.strong, setup.consistency, setup.softmatch.unlabelled_ratio]
    rates = []
    for length in lengths:
        schedule = learning_rate_schedule(
            setup.recipe, steps_per_epoch=length.steps_per_epoch, num_steps=length.num_steps
        )
        rates.append(np.asarray(schedule(np.arange(length.num_steps))).tolist())
    network = setup.network
    return repr(
        (
            *(setup.job.fsdp, network.options, setup.augment, setup.recipe, network.weights),
            *(network.architecture.name, network.label_names, network.image_size, rates, of),
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

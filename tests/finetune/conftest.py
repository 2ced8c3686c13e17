"""Fine-tunings of one shape share their compiled programs; tracing them is most of a run's time."""

import dataclasses

import pytest

from dreamda_jax.finetune import run

_NOT_THE_PROGRAM = ("output", "cache", "log_every", "checkpoint_every", "sample_every")


@pytest.fixture(scope="module", autouse=True)
def one_program_of_each_shape():
    made = {}
    open_programs = run.open_programs

    def shared(parts):
        job = dataclasses.asdict(parts.job)
        key = repr(
            (
                {name: value for name, value in job.items() if name not in _NOT_THE_PROGRAM},
                parts.files.directory,
                parts.checkpoint,
                parts.tokens,
                parts.source.label_names,
            )
        )
        if key not in made:
            made[key] = open_programs(parts)
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "open_programs", shared)
        yield

"""Fine-tunings of one shape share their compiled programs; tracing them is most of a run's time."""

import dataclasses
from typing import Any

import pytest

from dreamda_jax.finetune import build, run
from dreamda_jax.options.finetune import Finetune

_NOT_THE_PROGRAM = (
    *("output", "cache", "log_every", "checkpoint_every", "sample_every"),
    "num_samples",  # a shape, of which `jit` knows
)


def _numbers(job: Finetune) -> dict[str, Any]:
    """Those that decide what is compiled."""
    numbers = dataclasses.asdict(job)
    left_out = set(_NOT_THE_PROGRAM)
    if job.schedule == "constant":
        left_out.add("num_steps")
    if job.method != "lora":
        left_out |= {"lora_rank", "lora_alpha"}
    return {name: value for name, value in numbers.items() if name not in left_out}


@pytest.fixture(scope="module", autouse=True)
def one_program_of_each_shape():
    made, keys = {}, {}
    finetuning, open_programs = build.finetuning, run.open_programs

    def remembered(*arguments, **options):
        parts = finetuning(*arguments, **options)
        key = (
            _numbers(parts.job),
            parts.files.directory,
            parts.checkpoint,
            parts.vocabulary.tokens,
            parts.source.label_names,
        )
        keys[parts.adaptation] = repr(key)
        return parts

    def shared(model, adaptation, job):
        key = keys[adaptation]
        if key not in made:
            made[key] = open_programs(model, adaptation, job)
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "finetuning", remembered)
        patch.setattr(run, "open_programs", shared)
        yield

"""A cell of a study: a synthetic set, a training, or both; the commands that make them."""

import dataclasses
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

EXPANSION = 10
"""Variants of a seed, unless the overrides say otherwise."""
_VARIANTS = "synthesis.num_variants"


_OVERRIDE = re.compile(r"--?(?:no)?config\.(?P<field>[^=]+)")
_FLAG = re.compile(r"--?[A-Za-z]")


@dataclasses.dataclass(frozen=True)
class Cell:
    """A row of a study's table.

    Attributes:
      name: unique in its study; of its directory too.
      config: the file, and after a colon its argument.
      synthesis: overrides of `generate`; None: the cell has no synthetic set.
      training: overrides of `train`, besides those that name the sets.
      settings: what distinguishes the cell, for tables and plots.
    """

    name: str
    config: str
    synthesis: tuple[str, ...] | None
    training: tuple[str, ...] = ()
    settings: Mapping[str, str | float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Setup:
    """What all cells of a study share.

    Attributes:
      output: the study's directory.
      overrides: the user's; every command gets them, a cell's own come after them.
      oracle: judges labels; None: nobody does.
      num_runs: trainings of a cell.
      trains: whether classifiers are trained.
      digests: by the configuration of a cell, of what it says; a stage that another one made is not
        taken for finished.
    """

    output: Path
    overrides: tuple[str, ...]
    oracle: str | None
    num_runs: int
    trains: bool
    digests: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def directory(self, cell: Cell) -> Path:
        """Where a cell's results are."""
        return self.output / "cells" / cell.name

    def digest(self, cell: Cell) -> str:
        """Of the configuration of a cell."""
        return self.digests.get(cell.config, "")


class Stage(NamedTuple):
    """One command of a cell.

    Attributes:
      name: "generate", "evaluate", "labels" or "train".
      module: what runs.
      arguments: with which.
      result: the file that is there when it has ended well.
    """

    name: str
    module: str
    arguments: tuple[str, ...]
    result: Path

    @property
    def command(self) -> str:
        """To be typed."""
        return shlex.join(("python", "-m", self.module, *self.arguments))


def stages(cell: Cell, setup: Setup) -> list[Stage]:
    """A cell's commands in the order they run, the training included even if it is not wanted.

    Every command names the configuration, the user's overrides, and then the cell's own.
    """
    directory = setup.directory(cell)
    given = ("--config", cell.config, *setup.overrides)
    made = directory / "set"
    found = []
    if cell.synthesis is not None:
        variants: tuple[str, ...] = (f"--config.{_VARIANTS}={EXPANSION}",)
        if _VARIANTS in overridden_fields(setup.overrides):
            variants = ()
        generate = (*given, *variants, *cell.synthesis, f"--config.output.path={made}")
        found.append(
            Stage("generate", "dreamda_jax.generate", generate, made / "dataset_info.json")
        )
        report = directory / "report"
        evaluate = (*given, f"--synthetic={made}", f"--config.evaluate.output={report}")
        found.append(Stage("evaluate", "dreamda_jax.evaluate", evaluate, report / "report.json"))
        if setup.oracle is not None:
            file = directory / "labels.json"
            labels = (str(made), f"--oracle={setup.oracle}", f"--output={file}")
            found.append(Stage("labels", "dreamda_jax.reproduce.labels", labels, file))
    found.append(_training(cell, setup, given, made))
    return found


def _training(cell: Cell, setup: Setup, given: tuple[str, ...], made: Path) -> Stage:
    output = setup.directory(cell) / "classifier"
    data: tuple[str, ...] = ("--config.data.train_on=real",)
    if cell.synthesis is not None:
        data = ("--config.data.train_on=mixed", f"--config.data.synthetic={made}")
    arguments = (
        *given,
        *data,
        *cell.training,
        f"--config.train.num_runs={setup.num_runs}",
        f"--config.train.output={output}",
    )
    return Stage("train", "dreamda_jax.train", arguments, output / "results.json")


def wanted_stages(cell: Cell, setup: Setup) -> list[Stage]:
    """Those that are to run."""
    return [stage for stage in stages(cell, setup) if stage.name != "train" or setup.trains]


def given_overrides(argv: Sequence[str]) -> tuple[str, ...]:
    """Those among the arguments, in their order and letter for letter.

    Args:
      argv: without the program's name. A value may be an argument of its own.
    """
    found: list[str] = []
    for argument, following in zip(argv, [*argv[1:], None], strict=True):
        if argument == "--":
            break
        if _OVERRIDE.match(argument):
            found.append(argument)
            # What follows is its value, unless this is a truth value such as --config.augment.flip.
            if "=" not in argument and following is not None and not _FLAG.match(following):
                found.append(following)
    return tuple(found)


def overridden_fields(overrides: Iterable[str]) -> set[str]:
    """Which fields they set, such as "synthesis.num_variants"."""
    matches = map(_OVERRIDE.match, overrides)
    return {match["field"] for match in matches if match}

"""From a configuration and flags to the checked study; no network and no device is touched."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dreamda_jax.data import sources
from dreamda_jax.data.files import atomic
from dreamda_jax.data.files.object_store import is_remote
from dreamda_jax.errors import UserError
from dreamda_jax.options.checkpoints import Model
from dreamda_jax.options.sections import SECTIONS
from dreamda_jax.options.synthesis import Image, Synthesis
from dreamda_jax.reproduce import studies
from dreamda_jax.reproduce.cells import EXPANSION, Cell, Setup, overridden_fields, wanted_stages
from dreamda_jax.settings import binding

_DEFAULT_METHOD = "dreamda"
_TRAINING = ("methods", "steps")
"""Studies that compare by accuracy."""


class Flags(NamedTuple):
    """The command line.

    Attributes:
      study: "sites", "scales", "methods" or "steps".
      file: the configuration's, and after a colon its argument.
      overrides: `--config.…`, as they were given.
      output: the study's directory; None: by the study's name.
      cells: to run; none: all.
      scales: σ_h; none: the study's own.
      sites: where to perturb; none: everywhere.
      num_runs: trainings of a cell.
      train: whether to train classifiers; None: as the study does.
    """

    study: str
    file: str
    overrides: tuple[str, ...] = ()
    output: str | None = None
    cells: Sequence[str] = ()
    scales: Sequence[str] = ()
    sites: Sequence[str] = ()
    num_runs: int = 3
    train: bool | None = None


class Study(NamedTuple):
    """What is to be run and reported.

    Attributes:
      name: of the comparison.
      file: the configuration's.
      setup: what its cells share.
      cells: all of them.
      chosen: those to run, which have something to run.
      seeds: the real images, by the sets' seed ids.
      image: how they become squares.
      num_variants: of each, in a set.
      num_steps: of a training; None: counted in epochs.
    """

    name: str
    file: str
    setup: Setup
    cells: list[Cell]
    chosen: list[Cell]
    seeds: sources.Source
    image: Image
    num_variants: int
    num_steps: int | None


def study(
    config: dict[str, Any], flags: Flags, *, resolve: Callable[[str], dict[str, Any]]
) -> Study:
    """Checks everything that can be known before the first command runs.

    Args:
      config: the whole of it, overrides included.
      flags: the command line.
      resolve: what a configuration says that is given as FILE or FILE:METHOD, without overrides.

    Raises:
      UserError: flags that do not fit the study or the network, an unknown cell, a training
        without a fixed number of steps, or a set that cannot be opened.
    """
    binding.check_sections(config, SECTIONS)
    image = binding.bind(config, "image", Image)
    synthesis = binding.bind(config, "synthesis", Synthesis)
    output = flags.output or f"runs/reproduce_{flags.study}"
    if is_remote(output):
        raise UserError(f"--output={output}: a study needs a directory of this machine")
    trains = flags.train if flags.train is not None else flags.study in _TRAINING
    if trains:
        _check_steps(config)
    seeds = sources.open_source(**config["source"])
    if 0 < synthesis.max_seeds < len(seeds):
        seeds = sources.Spread(seeds, synthesis.max_seeds)
    cells = _cells(config, flags)
    setup = Setup(
        output=Path(output).expanduser(),
        overrides=flags.overrides,
        oracle=_oracle(config),
        num_runs=flags.num_runs,
        trains=trains,
        digests={file: _digest(config, resolve(file)) for file in {cell.config for cell in cells}},
    )
    given = "synthesis.num_variants" in overridden_fields(flags.overrides)
    return Study(
        name=flags.study,
        file=flags.file,
        setup=setup,
        cells=cells,
        chosen=_chosen(cells, flags.cells, setup),
        seeds=seeds,
        image=image,
        num_variants=synthesis.num_variants if given else EXPANSION,
        num_steps=config["train"].get("num_steps"),
    )


def _cells(config: Mapping[str, Any], flags: Flags) -> list[Cell]:
    method = config["method"].get("name")
    if flags.sites and flags.study != "sites":
        raise UserError(f"--sites belongs to --study=sites, not to --study={flags.study}")
    if flags.scales and flags.study not in ("scales", "sites"):
        raise UserError("--scales belongs to --study=scales and --study=sites")
    if flags.study == "methods":
        if ":" in flags.file or method != _DEFAULT_METHOD:
            raise UserError(
                "--study=methods goes through all methods itself: give the configuration's file "
                f"alone, without a method after a colon or in method.name (got {flags.file})"
            )
        from dreamda_jax.synthesis.registry import METHODS

        return studies.methods(flags.file, METHODS, default=_DEFAULT_METHOD)
    if method != _DEFAULT_METHOD:
        raise UserError(
            f"--study={flags.study} perturbs as {_DEFAULT_METHOD} does, but the configuration's "
            f"method is {method}: give its file without a method"
        )
    if flags.study == "steps":
        return studies.step_counts(flags.file)
    scales = _scales(flags.scales)
    if flags.study == "scales":
        return studies.noise_scales(flags.file, scales)
    model = binding.bind(config, "model", Model)
    blocks = studies.unet_blocks(model.path, revision=model.revision, variant=model.variant)
    return studies.sites(
        flags.file, blocks, chosen=tuple(dict.fromkeys(flags.sites)), scales=scales
    )


def _scales(given: Sequence[str]) -> tuple[float, ...]:
    try:
        scales = tuple(dict.fromkeys(float(text) for text in given))
    except ValueError as error:
        raise UserError(f"--scales must be numbers separated by commas ({error})") from error
    if any(not 0 <= scale < float("inf") for scale in scales):
        raise UserError(f"--scales must be 0 or more, got {', '.join(given)}")
    return scales


def _chosen(cells: Sequence[Cell], names: Sequence[str], setup: Setup) -> list[Cell]:
    known = {cell.name: cell for cell in cells}
    chosen = list(dict.fromkeys(names)) or list(known)
    for name in chosen:
        binding.choose(known, name, "--cells")
    found = [cell for name, cell in known.items() if name in chosen and wanted_stages(cell, setup)]
    if not found:
        raise UserError(
            f"there is nothing to do: without training, {', '.join(chosen)} come to nothing. Leave "
            "out --notrain, or choose other --cells"
        )
    return found


def _check_steps(config: Mapping[str, Any]) -> None:
    if not config["train"].get("num_steps"):
        raise UserError(
            "the rows of a study are trained for equally many steps, and this configuration counts "
            "epochs, of which those with synthetic images are longer: add "
            "--config.train.num_steps=N, or --notrain for no training"
        )


def _digest(*configs: Mapping[str, Any]) -> str:
    return hashlib.sha256(b"".join(map(atomic.to_json, configs))).hexdigest()


def _oracle(config: Mapping[str, Any]) -> str | None:
    """The configuration's; the packaged one where the images are the packaged ones."""
    named = config.get("audit", {}).get("oracle")
    if named is None and config["source"].get("kind") == "sample":
        return "sample"
    return named

"""From a configuration to the checked objects that an evaluation needs."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from dreamda_jax.data import sources
from dreamda_jax.data.files import json_text, staging
from dreamda_jax.data.files.object_store import is_remote
from dreamda_jax.data.sets import training_results
from dreamda_jax.data.sources import classes, open_held_out, readable_classes
from dreamda_jax.data.sources.folder import open_folder
from dreamda_jax.data.sources.synthetic_source import SyntheticSource
from dreamda_jax.errors import UserError
from dreamda_jax.options.checkpoints import Clip
from dreamda_jax.options.evaluate import Evaluate
from dreamda_jax.options.sections import SECTIONS
from dreamda_jax.options.synthesis import Image, Loader
from dreamda_jax.runtime import devices, set_content
from dreamda_jax.runtime.sweep import View
from dreamda_jax.settings import binding

_MADE_BY_GENERATE = "dataset_info.json"


class Origin(NamedTuple):
    """How the images to judge came about.

    Attributes:
      directory: where they lie.
      made: the set, where `generate` made it, which then tells each image's seed; else None.
      seeds: what `made` was expanded from, where that is at hand.
      recorded: what the set's config.json says of how it was made.
    """

    directory: Path
    made: SyntheticSource | None
    seeds: sources.Source | None
    recorded: dict[str, Any]


class Evaluation(NamedTuple):
    """Everything but the networks: no weight has been read yet.

    Attributes:
      options: section "evaluate".
      clip: section "clip".
      label_names: the classes of all sets together.
      sets: "real", the images to compare with, "synthetic", those to judge, and perhaps "test",
        those that must not have leaked into the synthetic ones.
      origin: of the images to judge.
      view: how images are read.
      output: directory of the report.
      classifiers: output directories of `train`.
      only_in: class names that one set has and the other has not, by set.
    """

    options: Evaluate
    clip: Clip
    label_names: tuple[str, ...]
    sets: dict[str, sources.Source]
    origin: Origin
    view: View
    output: Path
    classifiers: tuple[Path, ...]
    only_in: dict[str, tuple[str, ...]]


def evaluation(config: dict[str, Any], *, real: str | None, synthetic: str | None) -> Evaluation:
    """Checks a configuration and opens what it names.

    Args:
      config: the whole of it.
      real: an image folder, or a set that `generate` made; None: section "source".
      synthetic: likewise; None: what `generate` makes with this configuration.

    Raises:
      UserError: a field is unknown or has a value that does not fit, or something it names is not
        there.
    """
    binding.check_sections(config, SECTIONS)
    bind = functools.partial(binding.bind, config)
    chosen = bind("evaluate", Evaluate)
    image = bind("image", Image)
    loader = bind("loader", Loader)
    directory = staging.local(synthetic or config["output"]["path"])
    taken = config["source"].get("classes", "auto")
    judged = _open(directory, what="synthetic", taken=taken)
    compared = (
        _open(staging.local(real), what="real", taken=taken) if real else _open_source(config)
    )
    if _same(compared, judged):
        raise UserError(
            f"the real and the synthetic images are the same set, {directory}: there is nothing to "
            "compare. Give another --real or --synthetic."
        )
    opened = {"real": compared, "synthetic": judged}
    test = _test(config, compared, own_section=real is not None)
    if test is not None:
        opened["test"] = test
    names = classes.united(*(source.label_names for source in opened.values()))
    recorded = _recorded(directory)
    made = judged if isinstance(judged, SyntheticSource) else None
    return Evaluation(
        options=chosen,
        clip=bind("clip", Clip),
        label_names=names,
        sets={
            name: classes.match_classes(names, source, what=f"the {name} set")
            for name, source in opened.items()
        },
        origin=Origin(
            directory=directory,
            made=made,
            seeds=_seeds(compared, recorded) if made is not None else None,
            recorded=recorded,
        ),
        view=View(
            resolution=recorded.get("image", {}).get("resolution", image.resolution),
            crop=recorded.get("image", {}).get("crop", image.crop),
            batch_size=chosen.batch_size * devices.device_count(),
            num_workers=loader.num_workers,
        ),
        output=staging.local(report_path(chosen.output, synthetic or config["output"]["path"])),
        classifiers=_classifiers(chosen.classifiers),
        only_in={
            "real": _strangers(compared.label_names, judged.label_names),
            "synthetic": _strangers(judged.label_names, compared.label_names),
        },
    )


def check_classes(sets: Mapping[str, sources.Source]) -> list[str]:
    """Refuses sets with a class of which no image can be read.

    Args:
      sets: by name.

    Returns:
      What else to say of them.

    Raises:
      UserError: there is such a class.
    """
    return [
        line
        for name, source in sets.items()
        for line in readable_classes.refuse_unreadable_classes(
            source, what=f"the {name} images", begun=False
        )
    ]


def report_path(given: str | None, synthetic: str) -> str:
    """Where the report goes: as given, or beside the set and under its name."""
    if given:
        return given
    if is_remote(synthetic):
        return f"{synthetic.rstrip('/')}_report"
    directory = Path(synthetic).expanduser()
    if directory.name in ("", ".."):
        directory = directory.resolve()
    return str(directory.with_name(f"{directory.name}_report"))


def _open_source(config: Mapping[str, Any]) -> sources.Source:
    source = sources.open_source(**config["source"])
    classes.check_labels(source)
    return source


def _open(directory: Path, *, what: str, taken: Literal["auto", "sub_folders"]) -> sources.Source:
    if not directory.exists():
        made = (
            "Make them with `python -m dreamda_jax.generate`, or give" if what != "real" else "Give"
        )
        raise UserError(
            f"there are no {what} images: {directory} does not exist. {made} --{what} an image "
            "folder, or a set that `generate` made."
        )
    # An unfinished run has shards and no metadata yet: opening it as a set says so.
    if (directory / _MADE_BY_GENERATE).exists() or (directory / "done").is_dir():
        return SyntheticSource(directory)
    source = open_folder(directory, classes=taken)
    classes.check_labels(source)
    return source


def _test(
    config: Mapping[str, Any], real: sources.Source, *, own_section: bool
) -> sources.Source | None:
    given = config.get("test", {})
    if own_section and not (given.get("kind") or given.get("path")):
        return None  # a split of section `source`, whose images are not the ones looked at
    test = open_held_out(config, "test")
    if test is not None and _same(test, real):
        raise UserError(
            f"section test names the real images themselves ({len(test):,}): every image near its "
            "seed would count as leaked. Give the images that classifiers are tested on, or "
            "--config.test.split= and --config.test.path= for none."
        )
    return test


def _recorded(directory: Path) -> dict[str, Any]:
    try:
        return json_text.parse((directory / "config.json").read_bytes())["settings"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _seeds(real: sources.Source, recorded: Mapping[str, Any]) -> sources.Source | None:
    """The source whose places are the set's seed ids: `real`, or so many of its images."""
    count = recorded.get("synthesis", {}).get("max_seeds", 0)
    wanted = sources.Spread(real, count) if 0 < count < len(real) else real
    digests = recorded.get("sha256", {})
    if "source_content" in digests:
        identity = set_content.identity_of(wanted, what="the seeds")
        return wanted if digests["source_content"] == identity else None
    return wanted if digests.get("source") == wanted.fingerprint() else None


def _same(one: sources.Source, other: sources.Source) -> bool:
    """Whether two sets have the same images: of files by their bytes, else by what lists them."""
    if len(one) != len(other):
        return False
    first = set_content.content_of(one, what="the images")
    second = set_content.content_of(other, what="the images")
    if first is None or second is None:
        return one.fingerprint() == other.fingerprint()
    return set_content.same_images(first, second)


def _classifiers(listed: str) -> tuple[Path, ...]:
    names = dict.fromkeys(name.strip() for name in listed.split(",") if name.strip())
    directories = tuple(map(Path, names))
    for directory in directories:
        if not (directory / "results.json").is_file():
            raise UserError(
                f"evaluate.classifiers: {directory} has no results.json, so no training has ended "
                "there. Give output directories of `python -m dreamda_jax.train`, separated by "
                "commas."
            )
        training_results.read_results(directory)  # raises now rather than when all is computed
    return directories


def _strangers(names: Sequence[str], others: Sequence[str]) -> tuple[str, ...]:
    return classes.united(others, names)[len(others) :]

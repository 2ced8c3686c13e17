"""A set by the kind and options that a configuration names."""

import inspect
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from dreamda_jax.data.files.object_store import is_remote
from dreamda_jax.data.sources import classes
from dreamda_jax.data.sources.source import Source, nearest
from dreamda_jax.errors import UserError


def open_source(kind: str, **options) -> Source:
    """Opens a labelled image set.

    Args:
      kind: "sample" (the packaged fashion20), "folder" (any image folder) or "tfds" (a prepared
        TensorFlow Datasets set).
      **options: of the kind chosen. sample: `split`. folder: `path`, `label_pattern`,
        `label_names`, `classes`, `grey_max`. tfds: `name`, `split`, `data_dir`, `image_key`,
        `label_key`, `grey_max`. See
        `sample_source.SampleSource`, `folder.open_folder` and `tfds_source.open_tfds`.

    Returns:
      A `Source`.

    Raises:
      UserError: unknown kind or option, or anything wrong with the data (what, where, what to do).
    """
    opener = _opener(kind)
    signature = inspect.signature(opener)
    accepted = list(signature.parameters)
    for option in options:
        if option not in accepted:
            raise UserError(
                f"A data source of kind {kind!r} has no option {option!r}"
                f"{nearest(option, accepted)}. Its options: {', '.join(accepted)}."
            )
    for option, parameter in signature.parameters.items():
        if parameter.default is parameter.empty and option not in options:
            raise UserError(f"A data source of kind {kind!r} needs the option {option!r}.")
    return opener(**options)


def option_defaults(kind: str) -> dict[str, Any]:
    """The default value of every option of a kind that has one.

    Raises:
      UserError: unknown kind.
    """
    parameters = inspect.signature(_opener(kind)).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not each.empty}


def _opener(kind: str) -> Callable[..., Source]:
    # Imported here so that an image folder can be read without paying for tensorflow_datasets.
    from dreamda_jax.data.sources.folder import open_folder
    from dreamda_jax.data.sources.sample_source import SampleSource
    from dreamda_jax.data.sources.tfds_source import open_tfds

    openers: dict[str, Callable[..., Source]] = {
        "sample": SampleSource,
        "folder": open_folder,
        "tfds": open_tfds,
    }
    if kind not in openers:
        raise UserError(
            f"Unknown kind of data source {kind!r}{nearest(str(kind), openers)}. "
            f"Choose one of: {', '.join(openers)}."
        )
    return openers[kind]


def overridden(source: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """The options of another set, given as what differs from section "source".

    Args:
      source: the options of the source.
      fields: of the other set. What is empty is not given: on the command line None cannot be said.
        With a `kind` of its own nothing is taken from `source`. A folder has neither `split` nor
        `name`, which a configuration may have given to a set of another kind.

    Returns:
      For `open_source`; empty if no field is given.
    """
    given = {name: value for name, value in fields.items() if value}
    if not given:
        return {}
    options = given if "kind" in given else {**source, **given}
    apart = ("split", "name") if given.get("kind") == "folder" else ()
    return {name: value for name, value in options.items() if name not in apart}


def refuse_output_inside(source: Source, output: str) -> None:
    """Keeps what a run writes out of the folder that its images come from.

    Raises:
      UserError: its pictures would be images of that set the next time.
    """
    root = getattr(source, "root", None)
    if is_remote(output):
        return
    if root is not None and pathlib.Path(output).resolve().is_relative_to(root.resolve()):
        raise UserError(
            f"{output} lies in the image folder {root}: what is written there would be taken for "
            "images or classes of it. Give another directory."
        )


def open_held_out(config: Mapping[str, Any], section: str) -> Source | None:
    """The set of section "validation" or "test": its fields over those of section "source".

    None where the section has no field.

    Raises:
      UserError: it cannot be opened, or labels name no class.
    """
    options = overridden(config["source"], config.get(section, {}))
    if not options:
        return None
    source = open_source(**options)
    classes.check_labels(source)
    return source

"""What later versions changed in the settings of runs, so that runs begun before go on.

A field that an older run lacks counts as the default of today's option: a new option's default is
what the program did before it was there. Where that cannot be so, and for everything renamed,
removed or given another default, `CHANGES` has a line, and docs/upgrading.md says it to users.
"""

import copy
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, NamedTuple

_ABSENT = object()
_PREFIXES = ("", "config.")  # a study's settings hold a whole configuration
_MODULES = {"dreamda_jax.reproduction.labels": "dreamda_jax.reproduce.labels"}


class Added(NamedTuple):
    """An option whose default is not what older runs did.

    Attributes:
      since: the first version that has it.
      field: with its section, such as "model.attention".
      before: what older runs did.
    """

    since: str
    field: str
    before: Any


class Renamed(NamedTuple):
    """An option that has another name, or stands in another section.

    Attributes:
      since: the first version with the new name.
      field: the old name, with its section.
      to: the new one, likewise.
    """

    since: str
    field: str
    to: str


class Removed(NamedTuple):
    """An option that is gone.

    Attributes:
      since: the first version without it.
      field: with its section.
      goes_on: its values under which a run can be continued; None: all of them.
      advice: what to do with a run that had another value.
    """

    since: str
    field: str
    goes_on: tuple[Any, ...] | None = None
    advice: str = ""


class Defaulted(NamedTuple):
    """An option whose default changed, in its dataclass or in a configuration of this project.

    Attributes:
      since: the first version with the new default.
      field: with its section.
      before: the old default.
    """

    since: str
    field: str
    before: Any


class Withdrawn(NamedTuple):
    """A value that an option does not take any more.

    Attributes:
      since: the first version that refuses it.
      field: with its section.
      value: the one that is gone.
      advice: what to do with a run that had it.
    """

    since: str
    field: str
    value: Any
    advice: str


Change = Added | Renamed | Removed | Defaulted | Withdrawn

CHANGES: tuple[Change, ...] = (
    Added("0.1", "model.attention", before="plain"),
    Withdrawn(
        "0.2",
        "prompts.writer",
        "local",
        advice="serve the model behind an OpenAI-compatible endpoint, write to another file",
    ),
    Removed("0.2", "prompts.revision"),
    Removed("0.2", "source.path"),  # where a set lies does not matter: its bytes do
    Removed("0.2", "validation.path"),
    Removed("0.2", "test.path"),
    Removed("0.2", "unlabelled.path"),
    Removed("0.2", "prompts.dtype"),
    # 0.1 took the file's schedule as it is; what it was is read off the checkpoint.
    Added("0.2", "model.scheduler.steps_offset", before=0),
    Added("0.2", "model.scheduler.set_alpha_to_one", before=True),
)
"""In the order of versions."""


def as_today(
    here: Mapping[str, Any],
    now: Mapping[str, Any],
    *,
    defaults: Mapping[str, Any],
    changes: Sequence[Change] = CHANGES,
) -> dict[str, Any]:
    """The settings of a run, of whatever version, as this version would have written them.

    Args:
      here: the run's, plain values by section.
      now: those of today's configuration; says which fields there are.
      defaults: by section what a field counts as that `here` lacks and `changes` does not name.
      changes: what happened in between.
    """
    upgraded = copy.deepcopy(dict(here))
    for change in changes:
        for prefix in _PREFIXES:
            _apply(change, upgraded, now, prefix)
    if set(upgraded) <= set(now):  # else another command wrote them
        _fill(upgraded, now, defaults)
    return upgraded


def advice(
    field: str, here: Mapping[str, Any], *, changes: Sequence[Change] = CHANGES
) -> str | None:
    """What to do where a field differs because a later version changed it.

    Args:
      field: with its section.
      here: the settings that the older run was begun with.
      changes: what happened since.

    Returns:
      A sentence, or None where no change has to do with the difference.
    """
    for change in changes:
        for prefix in _PREFIXES:
            if prefix + change.field != field:
                continue
            if isinstance(change, Removed):
                return f"{change.since} has no {change.field} any more. {change.advice}".strip()
            if isinstance(change, Withdrawn) and _get(here, field) == change.value:
                return f"{change.value!r} is gone since {change.since}: {change.advice}"
            if isinstance(change, Added | Defaulted) and _get(here, field) in (
                *(change.before, _ABSENT),
            ):
                return (
                    f"the default is another since {change.since}: "
                    f"--config.{change.field}={change.before} continues the run"
                )
    return None


def command_today(command: str) -> str:
    """A command that an older version noted, with the modules' names of this one."""
    for old, new in _MODULES.items():
        command = command.replace(f" {old} ", f" {new} ")
    return command


def _apply(
    change: Change, here: MutableMapping[str, Any], now: Mapping[str, Any], prefix: str
) -> None:
    section, name = _split(here, prefix + change.field)
    if section is None:
        return
    match change:
        case Added(before=before):
            if name not in section and _get(now, prefix + change.field) is not _ABSENT:
                section[name] = before
        case Renamed(to=to):
            target, new_name = _split(here, prefix + to)
            if name in section and target is not None and new_name not in target:
                target[new_name] = section.pop(name)
        case Removed(goes_on=goes_on):
            stays = _get(now, prefix + change.field) is not _ABSENT
            if name in section and not stays and (goes_on is None or section[name] in goes_on):
                del section[name]


def _fill(here: Any, now: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    for name, value in now.items():
        if name not in here:
            if name in defaults and not isinstance(value, Mapping):
                here[name] = defaults[name]
            elif name in defaults:
                here[name] = {key: defaults[name][key] for key in value if key in defaults[name]}
        elif isinstance(value, Mapping) and isinstance(here[name], MutableMapping):
            _fill(here[name], value, defaults.get(name, {}))


def _split(
    settings: MutableMapping[str, Any], field: str
) -> tuple[MutableMapping[str, Any] | None, str]:
    """(the section that a field is in, or None where there is no such section; its name there)."""
    *sections, name = field.split(".")
    for part in sections:
        settings = settings.get(part, None)
        if not isinstance(settings, MutableMapping):
            return None, name
    return settings, name


def _get(settings: Mapping[str, Any], field: str) -> Any:
    found: Any = settings
    for part in field.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return _ABSENT
        found = found[part]
    return found

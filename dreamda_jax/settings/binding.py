"""From a configuration's sections to checked values: names and types by a signature."""

import contextlib
import dataclasses
import difflib
import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from dreamda_jax.errors import UserError


def bind(config: Mapping[str, Any], section: str, function: Callable[..., Any]) -> Any:
    """`function(**config[section])`, with names and types checked first against its signature.

    Args:
      config: the whole configuration.
      section: which part of it.
      function: a dataclass, or a function (or a partial of one) with keyword arguments. A field
        that is a dataclass itself is bound likewise.

    Raises:
      UserError: an unknown field (the nearest is suggested), a missing one, a value of the wrong
        type, or whatever ValueError `function` raises itself.
    """
    values = config.get(section)
    if not isinstance(values, Mapping):
        raise UserError(f"the configuration lacks the section {section!r}")
    parameters = inspect.signature(function).parameters
    plain = function.func if isinstance(function, functools.partial) else function
    hints = typing.get_type_hints(plain.__init__ if inspect.isclass(plain) else plain)
    values = dict(values)
    for name, value in values.items():
        if dataclasses.is_dataclass(hints.get(name)) and isinstance(value, Mapping):
            within = f"{section}.{name}"
            values[name] = value = bind({within: value}, within, hints[name])
        if name not in parameters:
            raise UserError(_unknown(f"{section}.{name}", name, parameters))
        if name in hints and not _fits(value, hints[name]):
            raise UserError(
                f"config field {section}.{name} must be {_describe(hints[name])}, got {value!r}"
            )
    missing = [
        name
        for name, parameter in parameters.items()
        if parameter.default is inspect.Parameter.empty and name not in values
    ]
    if missing:
        raise UserError(f"config section {section} lacks {', '.join(missing)}")
    with as_user_error(section):
        return function(**values)


def defaults(function: Callable[..., Any]) -> dict[str, Any]:
    """The plain default values of a dataclass's fields, or of a function's arguments, by name."""
    parameters = inspect.signature(function).parameters.values()
    plain = (str, int, float, bool, type(None))
    return {each.name: each.default for each in parameters if isinstance(each.default, plain)}


@contextlib.contextmanager
def as_user_error(section: str) -> Iterator[None]:
    """Turns a ValueError about values of a section into a UserError that names the section."""
    try:
        yield
    except ValueError as error:
        raise UserError(f"config section {section}: {error}") from error


def check_sections(config: Mapping[str, Any], known: Sequence[str]) -> None:
    """Refuses a section that no part of the entry point reads, such as a misspelt one.

    Raises:
      UserError: names the section and suggests the nearest.
    """
    for name in config:
        if name not in known:
            raise UserError(_unknown(name, name, dict.fromkeys(known)))


def choose(options: Mapping[str, Any], name: str, field: str) -> Any:
    """`options[name]`, or a UserError that names the nearest."""
    if name not in options:
        raise UserError(_unknown(field, name, options, what="value"))
    return options[name]


def _unknown(where: str, name: str, known: Mapping[str, Any], what: str = "config field") -> str:
    near = difflib.get_close_matches(str(name), list(known), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    given = f" {name!r} for" if what == "value" else ""
    return f"unknown {what}{given} {where}{hint} (there are: {', '.join(known)})"


def _fits(value: Any, hint: Any) -> bool:
    origin = typing.get_origin(hint)
    if hint is Any:
        return True
    if origin is typing.Literal:
        return value in typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, part) for part in typing.get_args(hint))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, origin or hint)


def _describe(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Literal:
        return "one of " + ", ".join(repr(value) for value in typing.get_args(hint))
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(_describe(part) for part in typing.get_args(hint))
    return "None" if hint is type(None) else getattr(hint, "__name__", str(hint))

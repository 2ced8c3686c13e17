"""What an option is: its name, what it may be, its default and its meaning, read where it stands.

The meaning of a dataclass's field is the string below it, that of a function's argument is its line
under "Args:".
"""

import ast
import dataclasses
import functools
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

_PLAIN = (str, int, float, bool)


class Field(NamedTuple):
    """One option.

    Attributes:
      name: as a configuration has it.
      kind: what it may be: a type, a union or a `Literal`.
      default: its value where a configuration says nothing; None: none.
      meaning: of its value, in a sentence or two.
    """

    name: str
    kind: Any
    default: Any
    meaning: str

    @property
    def plain_kind(self) -> type:
        """The type of the values other than None, the first that a command line can give.

        Raises:
          ValueError: there is none, as of a mapping.
        """
        kinds = [self.kind]
        if typing.get_origin(self.kind) in (typing.Union, types.UnionType):
            kinds = list(typing.get_args(self.kind))
        for kind in kinds:
            if typing.get_origin(kind) is typing.Literal:
                return type(typing.get_args(kind)[0])
            if kind in _PLAIN:
                return kind
        raise ValueError(f"{self.name} is of no plain kind: {self.kind}")

    @property
    def is_plain(self) -> bool:
        """Whether a command line can give it."""
        try:
            return bool(self.plain_kind)
        except ValueError:
            return False

    @property
    def within(self) -> tuple["Field", ...]:
        """The options that it consists of, where it is a record itself; () elsewhere."""
        is_record = dataclasses.is_dataclass(self.kind)
        return fields_of(typing.cast(Any, self.kind)) if is_record else ()

    @property
    def choices(self) -> tuple[Any, ...]:
        """What it may be, where that can be listed; () elsewhere."""
        for kind in (self.kind, *typing.get_args(self.kind)):
            if typing.get_origin(kind) is typing.Literal:
                return typing.get_args(kind)
        return ()


def flat(fields: Iterable[Field]) -> Iterator[Field]:
    """The options with those of records among them in their place, as "scheduler.beta_end"."""
    for field in fields:
        if not field.within:
            yield field
        for each in field.within:
            yield each._replace(name=f"{field.name}.{each.name}")


@functools.cache
def fields_of(record: Any) -> tuple[Field, ...]:
    """The options of a dataclass, or of a function with keyword arguments, in their order.

    Args:
      record: the class or the function.
    """
    hints = typing.get_type_hints(record.__init__ if inspect.isclass(record) else record)
    parameters = inspect.signature(record).parameters
    if dataclasses.is_dataclass(record):
        meanings = _below_fields(record)
        # A field without a meaning is no option, such as what a builder opens.
        names = [name for name in parameters if name in meanings]
    else:
        meanings = _under_args(record.__doc__)
        names = [
            name
            for name, parameter in parameters.items()
            if parameter.kind is not parameter.POSITIONAL_ONLY
        ]
    return tuple(
        Field(name, hints.get(name, Any), _default(parameters[name]), meanings.get(name, ""))
        for name in names
    )


def _default(parameter: inspect.Parameter) -> Any:
    return None if parameter.default is parameter.empty else parameter.default


def _below_fields(record: Any) -> dict[str, str]:
    meanings: dict[str, str] = {}
    for base in reversed(record.__mro__):
        if not hasattr(base, "__dataclass_fields__"):
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(tree, ast.ClassDef)
        for field, below in zip(tree.body, tree.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
            ):
                meanings[field.target.id] = " ".join(str(below.value.value).split())
    return meanings


def _under_args(docstring: str | None) -> dict[str, str]:
    text = inspect.cleandoc(docstring or "")
    block = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)+)", text, re.MULTILINE)
    meanings: dict[str, str] = {}
    for line in textwrap.dedent(block[1]).splitlines() if block else ():
        if begins := re.match(r"\*{0,2}(\w+): (.*)", line):
            name = begins[1]
            meanings[name] = begins[2]
        elif line.strip():
            meanings[name] += f" {line.strip()}"
    return meanings

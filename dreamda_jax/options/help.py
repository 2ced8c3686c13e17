"""The options of a command as text for a terminal."""

import difflib
import textwrap

from dreamda_jax.errors import UserError
from dreamda_jax.options.fields import Field, flat
from dreamda_jax.options.sections import USED_BY, section_fields

_WIDTH = 100


def text(command: str, section: str | None = None) -> str:
    """Every option of a command, in sections, with its default and meaning.

    Args:
      command: such as "generate".
      section: only this one.

    Raises:
      UserError: the command reads no section of that name; the nearest is named.
    """
    used = USED_BY[command]
    if section is not None and section not in used:
        near = difflib.get_close_matches(section, used, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UserError(f"{command} reads no section {section!r}{hint} (it has: {', '.join(used)})")
    lines = []
    for name in used if section is None else (section,):
        for choice, fields in section_fields(name).items():
            deciding = {"source": "kind", "method": "name"}.get(name)
            with_choice = f" ({deciding}={choice})" if choice else ""
            lines += ["", f"--config.{name}.…{with_choice}"]
            for field in flat(fields):
                lines += _lines(field)
    return "\n".join(lines[1:])


def default_text(field: Field) -> str:
    """The default as one would write it."""
    if field.default is None or field.default == "":
        return "none"
    return str(field.default)


def _lines(field: Field) -> list[str]:
    head = f"  {field.name} = {default_text(field)}"
    if field.choices:
        head += f"  [{' | '.join(map(str, field.choices))}]"
    indent = " " * 6
    meaning = textwrap.wrap(field.meaning, _WIDTH, initial_indent=indent, subsequent_indent=indent)
    return [head, *meaning]

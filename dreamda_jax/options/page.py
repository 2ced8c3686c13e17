"""The page of all options, docs/options.md, from where they stand.

python -m dreamda_jax.options.page > docs/options.md
"""

from collections.abc import Iterable

from dreamda_jax.options.fields import Field, flat
from dreamda_jax.options.help import default_text
from dreamda_jax.options.sections import SECTIONS, USED_BY, section_fields

_BEGINNING = """\
# Options

Every field of a configuration, as `dreamda COMMAND --help` lists it too. Any of them can be set on
the command line: `--config.SECTION.FIELD=VALUE`. A configuration of your own changes defaults:
`from dreamda_jax.configs import defaults`, then `config = defaults.get_config()`.

This page is written by `python -m dreamda_jax.options.page`.
"""


def page() -> str:
    """The whole page, Markdown."""
    parts = [_BEGINNING]
    for section in SECTIONS:
        commands = [f"`{command}`" for command, used in USED_BY.items() if section in used]
        parts.append(f"## {section}\n\nRead by {', '.join(commands)}.\n")
        for choice, fields in section_fields(section).items():
            if choice:
                deciding = "kind" if section == "source" else "name"
                parts.append(f"### {section}.{deciding}={choice}\n")
            parts.append(_table(fields))
    return "\n".join(parts)


def _table(fields: Iterable[Field]) -> str:
    lines = ["| field | default | meaning |", "|---|---|---|"]
    for field in flat(fields):
        meaning = field.meaning
        if field.choices:
            meaning += f" One of {', '.join(f'`{choice}`' for choice in field.choices)}."
        lines.append(
            f"| `{field.name}` | {_code(default_text(field))} | {meaning.replace('|', '&#124;')} |"
        )
    return "\n".join(lines) + "\n"


def _code(text: str) -> str:
    return text if text == "none" else f"`{text}`"


if __name__ == "__main__":
    print(page(), end="")

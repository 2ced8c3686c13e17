"""Every option stands once: its default, its meaning, the page and the help are made of it."""

import dataclasses
import inspect
import subprocess
import sys
from typing import Literal

import pytest

from dreamda_jax.configs import defaults
from dreamda_jax.data import sources
from dreamda_jax.errors import UserError
from dreamda_jax.options import help, page
from dreamda_jax.options.fields import fields_of, flat
from dreamda_jax.options.methods import METHODS
from dreamda_jax.options.sections import SECTIONS, USED_BY, section_fields
from dreamda_jax.settings import binding
from dreamda_jax.synthesis import registry
from tests.support.paths import ROOT


@dataclasses.dataclass(frozen=True)
class Base:
    """A record."""

    count: int = 3
    """How many,
    over two lines."""
    opened: object = None


@dataclasses.dataclass(frozen=True)
class Derived(Base):
    """Another."""

    count: int = 4
    kind: Literal["a", "b"] | None = None
    """Which."""


def documented(given: int, /, *, path: str | None = None, share: float = 0.5) -> None:
    """A function.

    Args:
      given: no option.
      path: where: a
        directory.
      share: of it.

    Raises:
      ValueError: never.
    """


def test_fields_of_a_record():
    count, kind = fields_of(Derived)
    assert count == ("count", int, 4, "How many, over two lines.")  # as no meaning of its own
    assert (kind.name, kind.plain_kind, kind.default) == ("kind", str, None)


def test_fields_of_a_function():
    path, share = fields_of(documented)
    assert path == ("path", str | None, None, "where: a directory.")
    assert (path.plain_kind, share.plain_kind) == (str, float)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_option_has_a_meaning_and_a_default_that_it_takes(section):
    for choice, fields in section_fields(section).items():
        assert fields or section == "method", choice
        for field in flat(fields):
            assert field.meaning, f"{section}.{field.name}"
            if field.default is not None:
                values = {section: {field.name: field.default}}
                record = dataclasses.make_dataclass("Record", [(field.name, field.kind)])
                binding.bind(values, section, record)  # raises what does not fit


def test_every_section_is_read_by_a_command_and_in_every_configuration():
    assert {section for used in USED_BY.values() for section in used} == set(SECTIONS)
    assert set(defaults.get_config().keys()) == set(SECTIONS)


def test_sources_are_opened_with_the_options_that_are_listed():
    for kind, fields in section_fields("source").items():
        listed = {f.name: f.default for f in fields if f.default is not None}
        opened = sources.option_defaults(kind)
        assert listed == {name: value for name, value in opened.items() if value is not None}


def test_a_method_has_the_options_of_its_record_and_no_default_of_its_own():
    assert list(registry.METHODS) == list(METHODS)
    for name, record in METHODS.items():
        method = registry.METHODS[name]
        assert issubclass(method, record)
        own = {f.name for f in dataclasses.fields(method)} - {
            f.name for f in dataclasses.fields(record)
        }
        assert own <= {"clip"}, own  # what the builder opens
        for field in fields_of(record):
            assert inspect.signature(method).parameters[field.name].default == field.default


def test_the_page_is_what_the_records_say():
    assert (ROOT / "docs/options.md").read_text() == page.page(), "run dreamda_jax.options.page"


@pytest.mark.parametrize("command", USED_BY)
def test_help_lists_every_field_of_a_command_and_no_other(command):
    text = help.text(command)
    for section in SECTIONS:
        assert (f"--config.{section}.…" in text) == (section in USED_BY[command])
    for section in USED_BY[command]:
        for fields in section_fields(section).values():
            for field in flat(fields):
                assert f"  {field.name} = " in help.text(command, section)
    with pytest.raises(UserError, match="did you mean"):
        help.text(command, USED_BY[command][0] + "s")


@pytest.mark.parametrize("command", USED_BY)
def test_help_starts_neither_jax_nor_a_configuration(command):
    script = (
        "import runpy, sys\n"
        "sys.modules['jax'] = None\n"
        f"sys.argv = ['x', '--help={USED_BY[command][0]}']\n"
        f"runpy.run_module('dreamda_jax.{command}', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"--config.{USED_BY[command][0]}.…")

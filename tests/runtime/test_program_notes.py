"""What earlier runs left word of is found by the same program, and by no other."""

import json

import pytest

from dreamda_jax.runtime import compilation_cache, devices, program_notes
from dreamda_jax.runtime.program_notes import NONE, ProgramNotes, notes_of


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setattr(compilation_cache, "kept_in", lambda: tmp_path)
    return tmp_path


def test_the_same_program_finds_them(kept):
    of = {"resolution": 64, "options": (1, 2.5, None)}
    assert notes_of("a program", of).seconds_each is None
    notes_of("a program", of).put(seconds_each=0.5)
    notes_of("a program", dict(reversed(of.items()))).put(flops=3.0)
    again = notes_of("a program", of)
    assert (again.seconds_each, again.number("flops"), again.number("absent")) == (0.5, 3.0, None)


@pytest.mark.parametrize("what", ["name", "option", "devices", "code", "library", "flags"])
def test_another_program_does_not(kept, monkeypatch, what):
    notes_of("a program", {"resolution": 64}).put(seconds_each=0.5)
    name, options = "a program", {"resolution": 64}
    if what == "name":
        name = "another"
    elif what == "option":
        options = {"resolution": 32}
    elif what == "devices":
        monkeypatch.setattr(devices, "describe_devices", lambda: "8 x TPU v5 lite")
    elif what == "code":
        monkeypatch.setattr(program_notes, "_source_digest", lambda: "of another version")
    elif what == "library":
        monkeypatch.setattr(program_notes.importlib.metadata, "version", lambda name: "0.0")
    else:
        monkeypatch.setenv("XLA_FLAGS", "--xla_another=true")
    assert notes_of(name, options).seconds_each is None


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"seconds_each": "fast"}', '{"seconds_each": NaN}', "\x00"]
)
def test_damaged_ones_are_none(tmp_path, content):
    file = tmp_path / "notes.json"
    file.write_text(content)
    notes = ProgramNotes(file)
    assert notes.seconds_each is None
    notes.put(seconds_each=2.0)
    assert ProgramNotes(file).seconds_each == 2.0
    assert json.loads(file.read_text()) == {"seconds_each": 2.0}


def test_where_none_can_be_kept_nothing_fails(tmp_path):
    (tmp_path / "a file").write_text("")
    notes = ProgramNotes(tmp_path / "a file" / "notes.json")
    notes.put(seconds_each=2.0)
    assert notes.seconds_each == 2.0
    assert NONE.seconds_each is None


def test_without_a_cache_of_programs_none_are_kept(monkeypatch):
    monkeypatch.setattr(compilation_cache, "kept_in", lambda: None)
    notes_of("a program", {}).put(seconds_each=1.0)
    assert notes_of("a program", {}).seconds_each is None

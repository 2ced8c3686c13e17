"""`--config`: the name of a configuration that comes with the package, or a file."""

import importlib
import sys
from pathlib import Path

import pytest

import dreamda_jax.configs
from dreamda_jax.settings import config_files

PACKAGED = Path(dreamda_jax.configs.__file__).parent


@pytest.fixture(autouse=True)
def path_of_modules(monkeypatch):
    """`find` adds to it."""
    monkeypatch.setattr(sys, "path", list(sys.path))


def found(*arguments):
    given = ["dreamda", *arguments]
    config_files.find(given)
    return given[1:]


def test_every_name_is_a_configuration():
    names = config_files.names()
    assert {"fashion", "folder", "pets"} <= set(names)
    assert names == sorted(names)
    for name in names:
        module = importlib.import_module(f"dreamda_jax.configs.{name}")
        assert "output" in module.get_config()


@pytest.mark.parametrize("flag", ["--config", "-config"])
def test_a_name_becomes_the_path_of_its_file(tmp_path, monkeypatch, flag):
    monkeypatch.chdir(tmp_path)
    file = str(PACKAGED / "pets.py")
    assert found(flag, "pets", "--dry_run") == [flag, file, "--dry_run"]
    assert found(f"{flag}=pets") == [f"{flag}={file}"]
    assert found("--dry_run", flag, "pets:sdedit") == ["--dry_run", flag, f"{file}:sdedit"]
    assert found(f"{flag}=pets:preset=fast") == [f"{flag}={file}:preset=fast"]


def test_what_is_no_name_stays_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for arguments in (
        ["--config", "configs/pets.py"],
        ["--config=defaults"],  # not one of those that can be run
        ["--config.source.path", "pets"],
        ["--output", "pets"],
        ["--config"],
        ["--config="],
    ):
        assert found(*arguments) == arguments


def test_a_file_of_that_name_goes_before_the_packaged_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("pets").write_text("")
    assert found("--config", "pets") == ["--config", "pets"]


def test_a_file_s_neighbours_can_be_imported(tmp_path):
    folder = tmp_path / "some_configurations_of_mine"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "shared.py").write_text("SEEDS = 3")
    found("--config", str(folder / "mine.py:sdedit"))
    assert sys.path[-1] == str(tmp_path)
    shared = importlib.import_module("some_configurations_of_mine.shared")
    assert shared.SEEDS == 3


def test_what_is_said_of_a_file_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = config_files.not_found("configs/fashon.py")
    assert "from configs/fashon.py" in said
    assert str(tmp_path) in said
    assert "Did you mean fashion?" in said
    assert ", ".join(config_files.names()) in said
    assert "Did you mean" not in config_files.not_found("something_else_altogether.py")

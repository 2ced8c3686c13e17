"""What is wrong with a configuration of one's own is one line that says where and what to do."""

import subprocess
import sys

import pytest

from tests.support.paths import ROOT

BEGINNING = """\
from dreamda_jax.configs import defaults


def get_config():
    config = defaults.get_config()
"""


def refused(directory, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "dreamda_jax.generate", *arguments, "--dry_run"],
        cwd=directory,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(directory)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (1, 2), done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    return line


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("x = 1\n", "has no function get_config()"),
        ("def get_config():\n    return {'source': 1}\n", "returns dict and not a ConfigDict"),
        ("def get_config():\n    return None\n", "returns NoneType and not a ConfigDict"),
        (BEGINNING + "    config.image.resolution = 'big'\n", "own.py, line 6: TypeError"),
        (BEGINNING + "    undefined\n", "own.py, line 6: NameError: name 'undefined'"),
        ("def get_config(:\n", "invalid syntax (own.py, line 1)"),
        ("import nowhere\n", "own.py, line 1: ModuleNotFoundError: No module named 'nowhere'"),
    ],
)
def test_a_file_that_is_wrong(tmp_path, content, said):
    (tmp_path / "own.py").write_text(content)
    assert said in refused(tmp_path, "--config", "own.py")


def test_a_method_for_a_file_that_takes_none(tmp_path):
    (tmp_path / "own.py").write_text(BEGINNING + "    return config\n")
    line = refused(tmp_path, "--config", "own.py:sdedit")
    assert "takes no argument" in line
    assert "def get_config(method='dreamda')" in line


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("--config.synthesis.per_seed=2", "synthesis.per_seed: --help=synthesis lists"),
        ("--config.model.scheduler.foo=1", "model.scheduler.foo: --help=model lists"),
        ("--config.method.steps=3", "which method (after a colon) has it"),
        ("--config.classes=3", "'classes': --help lists the sections"),
        ("folder", "unexpected argument 'folder': --config folder?"),
    ],
)
def test_a_field_that_is_not_there(tmp_path, argument, said):
    assert said in refused(tmp_path, "--config", "fashion", argument)


def test_flags_that_are_missing(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "dreamda_jax.export"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (
        done.stderr == "error: --input and --to and --output must be given (--help says what for)\n"
    )

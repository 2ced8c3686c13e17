"""`dreamda COMMAND` and `python -m dreamda_jax COMMAND`."""

import subprocess
import sys

import pytest

from dreamda_jax import __main__ as dreamda
from dreamda_jax import __version__
from tests.support.paths import ROOT
from tests.support.waiting import HANG_GUARD_SECONDS


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["dreamda", *arguments])
    dreamda.main()


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",), ("help",)])
def test_the_commands_are_listed_each_with_what_it_does(monkeypatch, capsys, arguments):
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, *arguments)
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    lines = printed[printed.index("Commands:") :].splitlines()[1:]
    assert [line.split()[0] for line in lines] == list(dreamda.COMMANDS)
    assert all(len(line.split()) > 3 for line in lines)
    assert "Judge synthetic images" in printed


def test_every_command_can_be_run_as_a_module_too():
    package = ROOT / "dreamda_jax"
    entries = {file.parent.name for file in package.glob("*/__main__.py")}
    entries |= {
        file.stem for file in package.glob("*.py") if "command_line.run" in file.read_text()
    }
    assert set(dreamda.COMMANDS) == entries


def test_the_version(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, "--version")
    assert capsys.readouterr().out == f"{__version__}\n"


@pytest.mark.parametrize(
    ("command", "hint"),
    [("trian", "; did you mean 'train'?"), ("xyz", " (there are:"), ("--config", " (there are:")],
)
def test_an_unknown_command_is_refused(monkeypatch, capsys, command, hint):
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, command)
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert f"error: unknown command {command!r}{hint}" in printed.err
    assert "generate, train" in printed.err


def test_a_command_runs_as_its_module_does(monkeypatch):
    ran = []

    def run_module(name, **options):
        ran.append((name, options, list(sys.argv)))

    monkeypatch.setattr(dreamda.runpy, "run_module", run_module)
    run(monkeypatch, "evaluate", "--config", "fashion", "--dry_run")
    (call,) = ran
    as_main = {"run_name": "__main__", "alter_sys": True}
    assert call == (
        "dreamda_jax.evaluate",
        as_main,
        ["dreamda", "--config", "fashion", "--dry_run"],
    )


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["export", "--help"], 0, "python -m dreamda_jax.export"),
        (["generate", "--help=prompt"], 0, "template"),
        (["plan", "--config", "fashion"], 1, "no target given"),
        (["generate", "--confg=fashion"], 2, "config"),
    ],
)
def test_its_arguments_and_its_exit_code_are_the_command_s(arguments, code, said):
    done = subprocess.run(
        [sys.executable, "-m", "dreamda_jax", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=HANG_GUARD_SECONDS,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr

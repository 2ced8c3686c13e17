"""Expand a labelled image set with Stable Diffusion, and train a better classifier from it.

dreamda COMMAND --help
dreamda generate --config fashion
python -m dreamda_jax generate --config fashion
"""

import ast
import difflib
import importlib.util
import runpy
import sys
from pathlib import Path

from dreamda_jax import __version__
from dreamda_jax.settings import failures

COMMANDS = ("generate", "train", "evaluate", "finetune", "prompts", "plan", "reproduce", "export")
"""In the order in which one needs them; each is a module that `python -m` runs as well."""


def main() -> None:
    """Runs the command that is named first; without one, lists all."""
    arguments = sys.argv[1:]
    if arguments and arguments[0] in COMMANDS:
        del sys.argv[1]
        # As `python -m` would: workers that are started find their main module by its name.
        runpy.run_module(f"dreamda_jax.{arguments[0]}", run_name="__main__", alter_sys=True)
        return
    failures.watch_streams()
    if not arguments or arguments[0] in ("--help", "-h", "-help", "help"):
        failures.exit_with(lambda: print(_overview()))
    if arguments[0] == "--version":
        failures.exit_with(lambda: print(__version__))
    near = difflib.get_close_matches(arguments[0], COMMANDS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    known = ", ".join(COMMANDS)
    failures.fail(f"unknown command {arguments[0]!r}{hint} (there are: {known})", code=2)


def _overview() -> str:
    lines = [(__doc__ or "").strip(), "", "Commands:"]
    lines += [f"  {command:<10} {_first_line(command)}" for command in COMMANDS]
    return "\n".join(lines)


def _first_line(command: str) -> str:
    """What a command's own help begins with; its module is read and not imported."""
    spec = importlib.util.find_spec(f"dreamda_jax.{command}")
    assert spec is not None
    assert spec.origin is not None
    file = Path(spec.origin)
    file = file.with_name("__main__.py") if file.name == "__init__.py" else file
    return (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").splitlines()[0]


if __name__ == "__main__":
    main()

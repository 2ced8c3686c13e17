"""Where a configuration is: a file, or one that comes with the package, by its name."""

import difflib
import importlib.resources
import pathlib
import sys

_PACKAGED = importlib.resources.files("dreamda_jax") / "configs"
_NO_CONFIGURATIONS = ("__init__", "defaults", "methods")


def names() -> list[str]:
    """Those that come with the package."""
    found = (pathlib.PurePath(file.name) for file in _PACKAGED.iterdir())
    return sorted(
        file.stem for file in found if file.suffix == ".py" and file.stem not in _NO_CONFIGURATIONS
    )


def find(arguments: list[str]) -> None:
    """Puts the path of a packaged configuration in the place of its name on a command line.

    A file of one's own may import its neighbours, as `from configs import defaults`; the folder
    above its own is therefore looked into for modules.

    Args:
      arguments: `sys.argv`, which is changed.
    """
    for index, argument in enumerate(arguments):
        flag, has_value, value = argument.partition("=")
        if flag not in ("--config", "-config"):
            continue
        place = index if has_value else index + 1
        if place >= len(arguments):
            continue
        given = value if has_value else arguments[place]
        file, colon, method = given.partition(":")
        if file in names() and not pathlib.Path(file).is_file():
            path = f"{_PACKAGED / file}.py{colon}{method}"
            arguments[place] = f"{flag}={path}" if has_value else path
        elif file:
            sys.path.append(str(pathlib.Path(file).resolve().parent.parent))


def not_found(path: str) -> str:
    """What to say where no configuration could be loaded from a path."""
    name = pathlib.PurePath(path).stem
    near = difflib.get_close_matches(name, names(), n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return (
        f"no configuration could be loaded from {path} (working directory {pathlib.Path.cwd()})."
        f"{hint} Give the path of a Python file, or one of {', '.join(names())}."
    )

"""What is wrong with a configuration, or with a field of it on the command line, in one line."""

import re
import traceback

_QUOTES = "\"'"
_NOT_THEIRS = ("ml_collections", "absl", "importlib", "dreamda_jax", "<frozen")


def of_flags(message: str) -> str:
    """What absl says of flags; where a configuration raised, it quotes a whole traceback.

    Args:
      message: absl's.
    """
    needed = re.findall(r"flag --(\w+)=None: Flag --\1 must have a value", message)
    if needed:
        return f"--{' and --'.join(dict.fromkeys(needed))} must be given (--help says what for)"
    if "Traceback" not in message:
        return message
    last = message.strip().splitlines()[-1]
    if (known := _of_get_config(last)) is not None:
        return known
    kind, _, words = last.partition(": ")
    files = re.findall(r'File "(.+?)", line (\d+)', message)
    theirs = [(file, line) for file, line in files if not _is_library(file)]
    said = words if kind == "ValueError" else last
    if not theirs:
        return f"configuration: {said}"
    return f"configuration {theirs[-1][0]}, line {theirs[-1][1]}: {said}"


def of_loading(error: Exception, arguments: list[str]) -> str:
    """What loading a configuration, or setting its fields, raised.

    Args:
      error: it.
      arguments: of the command line, which tell the section of an unknown field.
    """
    text = str(error)
    near = re.search(r'Did you mean "(.+?)" instead of "(.+?)"', text)
    if near:  # ml_collections' own words, without the layers of quotes they come in
        return f"unknown config field {near[2]!r}; did you mean {near[1]!r}?"
    if (known := _of_get_config(text)) is not None:
        return known
    if isinstance(error, ModuleNotFoundError) and error.name == "configs":
        return "configuration: write from dreamda_jax.configs import …, not from configs"
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if not _is_library(frame[0])
    ]
    if frames and not isinstance(error, KeyError):
        where = f"{frames[-1].filename}, line {frames[-1].lineno}"
        return f"configuration {where}: {type(error).__name__}: {text}"
    if isinstance(error, KeyError | AttributeError):
        return _unknown_field(text.strip(_QUOTES), arguments)
    return f"configuration: {text}"


def _of_get_config(text: str) -> str | None:
    if "has no attribute 'get_config" in text:
        return (
            "the configuration file has no function get_config(): it is to return "
            "dreamda_jax.configs.defaults.get_config(), changed"
        )
    if "get_config() takes 0 positional arguments" in text:
        return (
            "get_config() of the configuration takes no argument, so that nothing can follow its "
            "name after a colon: write def get_config(method='dreamda')"
        )
    return None


def _unknown_field(name: str, arguments: list[str]) -> str:
    for argument in arguments:
        given = re.match(rf"--?config\.((\w+)\.(?:.+\.)?{re.escape(name)})(?:=|$)", argument)
        if given:
            field, section = given[1], given[2]
            method = " and which method (after a colon) has it" if section == "method" else ""
            return f"unknown config field {field}: --help={section} lists what there is{method}"
    return f"unknown config field {name!r}: --help lists the sections and their fields"


def _is_library(file: str) -> bool:
    parts = re.split(r"[/\\]", file)
    return any(part in _NOT_THEIRS for part in parts) or file.startswith("<")

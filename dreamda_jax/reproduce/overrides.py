"""The overrides of a command line (`--config.section.field=value`), to be passed on as they are."""

import re
from collections.abc import Iterable, Sequence

_OVERRIDE = re.compile(r"--?(?:no)?config\.(?P<field>[^=]+)")
_FLAG = re.compile(r"--?[A-Za-z]")


def given_overrides(argv: Sequence[str]) -> tuple[str, ...]:
    """Those among the arguments, in their order and letter for letter.

    Args:
      argv: without the program's name. A value may be an argument of its own.
    """
    found: list[str] = []
    for argument, following in zip(argv, [*argv[1:], None], strict=True):
        if argument == "--":
            break
        if _OVERRIDE.match(argument):
            found.append(argument)
            # What follows is its value, unless this is a truth value such as --config.augment.flip.
            if "=" not in argument and following is not None and not _FLAG.match(following):
                found.append(following)
    return tuple(found)


def fields(overrides: Iterable[str]) -> set[str]:
    """Which fields they set, such as "synthesis.num_variants"."""
    matches = map(_OVERRIDE.match, overrides)
    return {match["field"] for match in matches if match}

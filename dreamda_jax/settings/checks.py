"""Checks that several options' dataclasses share."""

import dataclasses
import math
from typing import Any, Literal, get_args, get_origin


def check_choices(options: Any) -> None:
    """Checks the fields of a dataclass of options that are of a `Literal` type.

    Raises:
      ValueError: names the field and what it may be.
    """
    for field in dataclasses.fields(options):
        choices, value = get_args(field.type), getattr(options, field.name)
        if get_origin(field.type) is Literal and value not in choices:
            raise ValueError(f"{field.name} must be one of {', '.join(choices)}, got {value!r}")


def check_not_negative(options: Any, *names: str) -> None:
    """Checks numbers of a dataclass of options, which have to be finite too.

    Raises:
      ValueError: names the field.
    """
    for name in names:
        value = getattr(options, name)
        if value < 0:
            raise ValueError(f"{name} must not be negative, got {value}")
        if not math.isfinite(value):
            raise ValueError(f"{name} must be a finite number, got {value}")

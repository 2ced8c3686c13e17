"""How every benchmark reports: a table for a person, then one line of JSON for a program."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Prints aligned columns, the first one to the left; floats get three significant digits."""
    cells = [list(header), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    print(f"\n{title}")
    for number, row in enumerate(cells):
        first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join([row[0].ljust(len(first)), *others]).rstrip())
        if number == 0:
            print("  ".join("-" * width for width in widths))


def print_json(figures: Mapping[str, Any]) -> None:
    """Prints the figures as the last line; see `json_line`."""
    print()
    print(json_line(figures), flush=True)


def json_line(figures: Mapping[str, Any]) -> str:
    """One line of JSON, floats rounded to six significant digits."""
    return json.dumps(_rounded(figures))


def machine() -> str:
    """What this process runs on, such as "1 x cpu, 2 cores"."""
    device = jax.local_devices()[0]
    return f"{jax.local_device_count()} x {device.device_kind}, {os.cpu_count()} cores"


def _cell(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _rounded(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    if not isinstance(value, float):
        return value
    return float(f"{value:.6g}") if math.isfinite(value) else str(value)  # JSON has no NaN

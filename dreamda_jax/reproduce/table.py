"""A study's table: one row a cell, as Markdown and as plain text."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
_BASELINE = "real test images"


def table(rows: Sequence[Row], baseline: Mapping[str, float] | None = None) -> list[list[str]]:
    """The table's cells as text, the titles first; columns that no row fills are left out.

    Args:
      rows: as `numbers.read_cell` gives them.
      baseline: metrics of real images, for a last row of their own.
    """
    columns = [[title, *(show(row) for row in rows)] for title, show in _COLUMNS]
    if baseline is not None:
        last = {name: {"value": value, "low": None} for name, value in baseline.items()}
        row: Row = {"name": _BASELINE, "metrics": last}
        columns = [
            [*column, show(row)] for column, (_, show) in zip(columns, _COLUMNS, strict=True)
        ]
    filled = [column for column in columns if any(column[1:])]
    return [list(row) for row in zip(*filled, strict=True)]


def as_markdown(cells: Sequence[Sequence[str]]) -> str:
    """With pipes."""
    head, *body = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([head, "|" + "---|" * len(cells[0]), *body])


def as_text(cells: Sequence[Sequence[str]]) -> str:
    """In columns of one width."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )


def _name(row: Row) -> str:
    failed = ", ".join(row.get("failed", ()))
    return f"{row['name']} ({failed} failed)" if failed else row["name"]


def _metric(name: str, form: str, *, interval: bool = False) -> Callable[[Row], str]:
    def show(row: Row) -> str:
        found = row.get("metrics", {}).get(name)
        if found is None or found["value"] is None:
            return ""
        text = format(found["value"], form)
        if interval and found["low"] is not None:
            text += f" ({found['low']:{form}} to {found['high']:{form}})"
        return text

    return show


def _number(*path: str, form: str) -> Callable[[Row], str]:
    def show(row: Row) -> str:
        found: Any = row
        for key in path:
            found = (found or {}).get(key)
        return "" if found is None else format(found, form)

    return show


def _site_rms(row: Row) -> str:
    # Methods that perturb nothing log some RMS too.
    if not {"site", "noise_scale"} & set(row.get("settings", ())):
        return ""
    return _number("set", "site_rms", form=".3g")(row)


def _labels(row: Row) -> str:
    found = row.get("labels")
    if found is None:
        return ""
    return f"{_percent(found['share'], 1)} % ({_percent(found['low'], 1)} to " + (
        f"{_percent(found['high'], 1)})"
    )


def _accuracy(row: Row) -> str:
    found = row.get("accuracy")
    if found is None:
        return ""
    spread = "" if found["std"] is None else f" ± {_percent(found['std'])}"
    return f"{_percent(found['mean'])} %{spread}"


def _runs(row: Row) -> str:
    return ", ".join(map(_percent, row.get("accuracy", {}).get("runs", ())))


def _percent(share: float, digits: int = 2) -> str:
    return f"{100 * share:.{digits}f}"


_COLUMNS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("cell", _name),
    ("σ_h", _number("settings", "noise_scale", form="g")),
    ("images", _number("images", form=",")),
    ("FID (95 %)", _metric("fid", ".3g", interval=True)),
    ("KID", _metric("kid", ".3g")),
    ("MMD²", _metric("mmd", ".3g")),
    ("CMMD", _metric("cmmd", ".3g")),
    ("precision", _metric("precision", ".2f")),
    ("recall", _metric("recall", ".2f")),
    ("diversity", _number("diversity", form=".2f")),
    ("copies", _number("copies", form=",")),
    ("labels the oracle shares (95 %)", _labels),
    ("RMS of the site", _site_rms),
    ("U-Net rows per image", _number("set", "unet_rows_per_image", form=",.1f")),
    ("TFLOP per image", _number("set", "tflop_per_image", form=".3g")),
    ("accuracy", _accuracy),
    ("the runs", _runs),
)

"""A section's table for a person and its line of JSON, out as soon as the section ends."""

import datetime
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.reporting import json_line, print_table

NO_TIME = "not run: no time left"


class NotHere(Exception):
    """A section cannot run on this machine; its message says what is missing. No failure."""


class Section:
    """What a section found so far; a failure takes nothing of it away.

    Args:
      name: the section's letter.
      title: what it measures.
    """

    def __init__(self, name: str, title: str) -> None:
        self.name = name
        self.title = title
        self.rows: list[dict[str, Any]] = []
        self.figures: dict[str, Any] = {}
        self.failed: list[str] = []
        self.error: str | None = None

    def row(self, **columns: Any) -> None:
        """Adds a row of the table; columns that a row lacks stay empty."""
        self.rows.append(columns)

    def check(self, what: str, value: float, bound: float) -> None:
        """Adds a row for a figure that must not exceed a bound; NaN does."""
        good = value <= bound
        self.row(what=what, value=value, bound=bound, verdict="ok" if good else "FAILED")
        if not good:
            self.failed.append(f"{what}: {value:.3g} is above {bound:.3g}")

    def say(self, text: str) -> None:
        """Tells a person how far it is, at once."""
        print(f"  {self.name}: {text}", flush=True)


class Report:
    """Prints sections, and appends their lines to a file where one is asked for.

    Args:
      about: what every line says of card, versions and options.
      output: the file; None: none.
    """

    def __init__(self, about: Mapping[str, Any], output: Path | None) -> None:
        self._about = about
        self._output = output
        self.has_failed = False

    def finish(self, section: Section) -> None:
        """A section that has run to its end or to its failure."""
        if section.rows:
            header = list(dict.fromkeys(column for row in section.rows for column in row))
            cells = [[_shown(row.get(column)) for column in header] for row in section.rows]
            names = [column.replace("_", " ") for column in header]
            print_table(f"{section.name}  {section.title}", names, cells)
        for failure in section.failed:
            print(f"FAILED  {failure}", flush=True)
        found: dict[str, Any] = {"title": section.title, "rows": section.rows, **section.figures}
        if section.failed:
            found["failed"] = section.failed
        if section.error is not None:
            found["error"] = section.error
        self.has_failed |= bool(section.failed or section.error)
        self._line(section.name, found)

    def not_run(self, section: Section, reason: str) -> None:
        """A section that was left out, which is no failure."""
        print(f"\n{section.name}  {section.title}: {reason}", flush=True)
        self._line(section.name, {"title": section.title, "not_run": reason})

    def _line(self, name: str, found: Mapping[str, Any]) -> None:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        line = json_line({"section": name, "date": now, **self._about, **found})
        print(line, flush=True)
        if self._output is not None:
            with self._output.open("a") as file:
                file.write(line + "\n")


def note_error(section: Section, error: BaseException) -> None:
    """Says on stderr what ended a section, and keeps its first line for the report."""
    traceback.print_exception(error)
    first: Sequence[str] = str(error).splitlines() or [""]
    section.error = f"{type(error).__name__}: {first[0]}"[:500]
    print(f"{section.name}: {section.error}", flush=True)


def _shown(value: Any) -> Any:
    return "" if value is None else value

"""Which stages of a cell are finished, for a study that is taken up again.

DIR/cells/CELL/finished/STAGE.json    the command that has ended well, and how long it took
DIR/cells/CELL/STAGE.log              what it printed
"""

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import dreamda_jax
from dreamda_jax.data.files import atomic, json_text, migrations
from dreamda_jax.printable import masked
from dreamda_jax.reproduce.cells import Cell, Setup, Stage, stages, wanted_stages
from dreamda_jax.runtime.readable import readable_seconds, until_clock


def log_file(directory: Path, stage: Stage) -> Path:
    """Where the stage's output goes."""
    return directory / f"{stage.name}.log"


def finished(directory: Path, stage: Stage, *, digest: str) -> dict[str, Any] | None:
    """What is noted of a stage that this very command has finished with this configuration.

    Returns:
      None if it has not, or if its result is gone.
    """
    try:
        note = json_text.parse(_note(directory, stage.name).read_bytes())
        same = masked(note["command"]) == masked(stage.command) and note["config"] == digest
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return note if same and stage.result.exists() else None


def note_finished(directory: Path, stage: Stage, *, digest: str, seconds: float) -> None:
    """Notes that a stage has ended well.

    Args:
      directory: of the cell.
      stage: which.
      digest: of the configuration.
      seconds: it took, in this run of the command.
    """
    note = {
        "command": stage.command,
        "config": digest,
        "seconds": seconds,
        "version": dreamda_jax.__version__,
    }
    file = _note(directory, stage.name)
    file.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_atomically(file, atomic.to_json(note))


def time_left(cells: Iterable[Cell], setup: Setup) -> str:
    """In words: each stage that is left takes as long as those of its kind that are finished."""
    took: dict[str, list[float]] = {}
    left: list[str] = []
    for cell in cells:
        for stage in wanted_stages(cell, setup):
            note = finished(setup.directory(cell), stage, digest=setup.digest(cell))
            if note is None:
                left.append(stage.name)
            else:
                took.setdefault(stage.name, []).append(float(note["seconds"]))
    if not left:
        return "nothing is left"
    if not took.keys() >= set(left):
        return f"{len(left)} stages are left; how long is known when the first cell is done"
    seconds = sum(statistics.mean(took[name]) for name in left)
    return (
        f"about {readable_seconds(seconds)} for the {len(left)} stages left, "
        f"{until_clock(seconds)} (as long as the finished ones took)"
    )


def renew(cells: Iterable[Cell], setup: Setup, *, continues: bool) -> None:
    """Brings what another version noted up to this one, so that a study begun by it goes on.

    A digest cannot be compared between versions that know different options. What was finished
    counts as finished where the study as a whole continues; else it is forgotten.

    Args:
      cells: of the study.
      setup: of the study.
      continues: whether its configuration is the one it was begun with.
    """
    for cell in cells:
        directory = setup.directory(cell)
        for stage in stages(cell, setup):
            file = _note(directory, stage.name)
            try:
                note = json_text.parse(file.read_bytes())
                version, command, seconds = note.get("version"), note["command"], note["seconds"]
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                continue
            if version == dreamda_jax.__version__:
                continue
            if not continues:
                file.unlink()
            elif migrations.command_today(command) == masked(stage.command):
                note_finished(directory, stage, digest=setup.digest(cell), seconds=seconds)


def forget(directory: Path, stages: Sequence[Stage]) -> None:
    """Takes stages for not finished: what they were made from is about to be made anew."""
    for stage in stages:
        _note(directory, stage.name).unlink(missing_ok=True)


def _note(directory: Path, name: str) -> Path:
    return directory / "finished" / f"{name}.json"

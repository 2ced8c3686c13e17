"""Where a report goes: a directory of its own, which tells of what the report in it is."""

import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dreamda_jax.data.files import atomic, json_text, run_settings
from dreamda_jax.data.files.digests import sha256_of_bytes
from dreamda_jax.data.sources import Source
from dreamda_jax.data.sources.folder_walk import first_few
from dreamda_jax.errors import UserError
from dreamda_jax.evaluate.networks import Networks
from dreamda_jax.runtime import set_content
from dreamda_jax.runtime.sweep import View

REPORT, PAGE, FLAGGED = "report.json", "report.html", "copies.jsonl"


def refuse_foreign_directory(output: Path, *, cache: Path) -> None:
    """Makes sure that a report is written to a new or empty directory, or that of a report.

    Args:
      output: the directory, which need not be there.
      cache: of features; it may lie in it.

    Raises:
      UserError: it is a file, or holds something else.
    """
    if output.exists() and not output.is_dir():
        raise UserError(
            f"The report directory {output} is a file. Give a directory as "
            "--config.evaluate.output."
        )
    if not output.is_dir() or _read(output) is not None:
        return
    ours = {REPORT, PAGE, FLAGGED, *([cache.name] if cache.parent == output else [])}
    with os.scandir(output) as entries:
        names = sorted(entry.name for entry in entries)
    foreign = [name for name in names if name not in ours and not name.startswith(atomic.PREFIX)]
    if foreign or (output / REPORT).exists():
        shown = first_few(foreign or [REPORT])
        raise UserError(
            f"The report directory {output} holds something else: {shown}. Give a new or an empty "
            "directory as --config.evaluate.output."
        )


def make_directory(output: Path) -> None:
    """Makes the directory of a report.

    Raises:
      UserError: it cannot be made or written.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=atomic.PREFIX, dir=output)
        os.close(descriptor)
        os.unlink(name)
    except OSError as error:
        raise UserError(
            f"The report directory {output} cannot be written ({error.strerror or error}). Give "
            "another one as --config.evaluate.output."
        ) from error


def made_of(
    sets: Mapping[str, Source],
    networks: Networks,
    *,
    view: View,
    classifiers: Iterable[Path],
    settings: dict[str, Any],
) -> str:
    """Sha256 (hex) of all that decides a report: images, networks, trainings, options.

    Args:
      sets: by name.
      networks: what features are of.
      view: how images are read.
      classifiers: directories of trainings.
      settings: of the evaluation.
    """
    chosen = {name: dict(section) for name, section in settings.items()}
    for name in ("output", "cache", "batch_size"):
        chosen.get("evaluate", {}).pop(name, None)
    decides = {
        "settings": run_settings.plain(chosen),
        "view": list(view[:2]),
        "sets": {
            name: set_content.identity_of(source, what=f"the {name} images")
            for name, source in sets.items()
        },
        "networks": [[channel.name, channel.digest] for channel in networks.channels],
        "trainings": [
            sha256_of_bytes((directory / "results.json").read_bytes()) for directory in classifiers
        ],
        "versions": run_settings.software_versions(),
    }
    return sha256_of_bytes(atomic.to_json(decides))


def finished(output: Path, of: str) -> dict[str, Any] | None:
    """A report that is there; None where it is none, or one of something else.

    Args:
      output: the directory.
      of: see `made_of`.
    """
    found = _read(output)
    if found is None or found.get("made_of") != of or not (output / PAGE).is_file():
        return None
    return found


def _read(output: Path) -> dict[str, Any] | None:
    """report.json, where it is one of ours."""
    try:
        found = json_text.parse((output / REPORT).read_bytes())
    except (OSError, ValueError):
        return None
    ours = isinstance(found, dict) and found.get("format") == 1 and "metrics" in found
    return found if ours else None

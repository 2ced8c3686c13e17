"""What making a set took, session by session: an interrupted run has several.

DIR/production-<i>.jsonl    a line for each time process i of the run made images
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dreamda_jax.data.files import atomic, json_text

_PATTERN = "production-*.jsonl"


def append_session(directory: Path, session: Mapping[str, Any], *, process_index: int) -> None:
    """Adds one session's numbers, as `generate.summary.session` gives them."""
    file = directory / _PATTERN.replace("*", str(process_index))
    before = file.read_bytes() if file.exists() else b""
    atomic.write_atomically(file, before + atomic.to_json(dict(session), indent=None))


def read_sessions(directory: Path) -> list[dict[str, Any]]:
    """All sessions of all processes; a damaged line is left out."""
    sessions = []
    for file in sorted(directory.glob(_PATTERN)):
        for line in file.read_text(errors="replace").splitlines():
            try:
                sessions.append(dict(json_text.parse(line)))
            except (ValueError, TypeError):
                continue
    return sessions

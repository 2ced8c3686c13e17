"""Which images of a set are not those that a run was begun with, by name.

    DIR/image_digests.json    {"source": ["sha256 of each image", …], "test": …}

config.json has one digest of each set, which decides; this file tells which image it is.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dreamda_jax.data.content import Content, identity
from dreamda_jax.data.files import atomic, json_text, run_directory
from dreamda_jax.data.sources import Source
from dreamda_jax.data.sources.folder_walk import first_few
from dreamda_jax.errors import UserError

_FILE = "image_digests.json"


def changed_places(
    first: Sequence[bytes], now: Content, label_names: Sequence[str], *, recorded: object
) -> list[int] | None:
    """Where images differ from those at the first start.

    Args:
      first: the digests of that start.
      now: the set of today.
      label_names: its class names.
      recorded: the identity in the run's config.json.

    Returns:
      Places; None where that cannot be told: another number of images, other labels or captions,
      or digests that are not those of the first start.
    """
    if len(first) != len(now.digests) or identity(label_names, first, now.notes) != recorded:
        return None
    return differing(first, now.digests)


def differing(first: Sequence[bytes], now: Sequence[bytes]) -> list[int]:
    """The places where two lists of as many digests differ."""
    pairs = enumerate(zip(first, now, strict=True))
    return [place for place, (old, new) in pairs if old != new]


def refusal(
    places: Sequence[int], source: Source, directory: Path, *, what: str, option: str
) -> UserError:
    """Names images that have changed.

    Args:
      places: at least one, in the source.
      source: the set.
      directory: of the run.
      what: the images are called, such as "seed images".
      option: that gives another output directory.
    """
    shown = first_few([source[place].name for place in places[:3]])
    return UserError(
        f"{len(places):,} of the {len(source):,} {what} are not those that {directory} was begun "
        f"with, such as {shown}. Restore them, or give another --config.{option}."
    )


def refuse_changed(
    directory: Path,
    settings: Mapping[str, Any],
    sets: Mapping[str, tuple[Source, Content | None]],
    *,
    option: str,
) -> None:
    """Names the images of a training that have changed; whatever else differs is not looked at.

    Args:
      directory: of the run, or where it will be.
      settings: of today, with the sets' digests in section "sha256".
      sets: by the name of their digest.
      option: that gives another output directory.

    Raises:
      UserError: some have changed, and the run has made something.
    """
    begun = (run_directory.recorded_settings(directory) or {}).get("sha256", {})
    held = _read(directory)
    for name, (source, now) in sets.items():
        key = f"{name}_content"
        if now is None or name not in held or begun.get(key) == settings["sha256"].get(key):
            continue
        places = changed_places(held[name], now, source.label_names, recorded=begun.get(key))
        if places and run_directory.has_begun(directory):
            raise refusal(places, source, directory, what=f"{name} images", option=option)


def remember(directory: Path, sets: Mapping[str, tuple[Source, Content | None]]) -> None:
    """Notes what the images are; `directory` is a run that this process alone writes to.

    Raises:
      UserError: the disk is full.
    """
    known = {name: now.digests for name, (_, now) in sets.items() if now is not None}
    if not known or _read(directory) == known:
        return
    content = {name: [one.hex() for one in digests] for name, digests in known.items()}
    needed = 100 * sum(map(len, known.values()))
    with atomic.disk_full_is_a_user_error(directory, needed=needed):
        atomic.write_atomically(directory / _FILE, json.dumps(content).encode())


def _read(directory: Path) -> dict[str, list[bytes]]:
    """Empty where there is none, or it is damaged: config.json's digests alone decide then."""
    try:
        content = json_text.parse((directory / _FILE).read_bytes())
        return {name: [bytes.fromhex(one) for one in digests] for name, digests in content.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}

"""Whether the seed images are those that a set was begun with, image by image.

    DIR/seed_images.json    {"first": digests of all images at the first start,
                             "since": digests by place of images that had been skipped}

config.json has one digest of all of them. An image that could not be read then, and was skipped,
may be another now, and variants are made of what it is now. Any other must be what it was.
"""

import json
from typing import Any

from dreamda_jax.data.content import Content
from dreamda_jax.data.files import atomic, json_text, run_directory
from dreamda_jax.data.sets import shards
from dreamda_jax.data.sources import Source
from dreamda_jax.generate.build import Identity
from dreamda_jax.runtime import changed_images

_FILE = "seed_images.json"
_FIELD = "source_content"


def settings_of_run(identity: Identity, layout: shards.Layout, source: Source) -> dict[str, Any]:
    """The settings to compare with those a directory was begun with.

    They say of the seed images what config.json says, where none but skipped ones have changed.

    Raises:
      UserError: others have changed; they are named.
    """
    begun = run_directory.recorded_settings(layout.directory) or {}
    recorded = begun.get("sha256", {}).get(_FIELD)
    now, held = identity.content, _read(layout)
    if now is None or held is None or recorded == identity.settings["sha256"][_FIELD]:
        return identity.settings
    first, since = held
    names = source.label_names
    known = [since.get(place, one) for place, one in enumerate(first)]
    if changed_images.changed_places(first, now, names, recorded=recorded) is None:
        return identity.settings  # labels or captions differ, and the difference will be said
    changed = changed_images.differing(known, now.digests)
    strangers = sorted(set(changed) - _skipped(layout))
    if strangers:
        raise changed_images.refusal(
            strangers,
            source,
            layout.directory,
            what="seed images",
            option="output.path",
        )
    return {**identity.settings, "sha256": {**identity.settings["sha256"], _FIELD: recorded}}


def remember(content: Content | None, layout: shards.Layout) -> None:
    """Notes what the seed images of a run are; of one begun before, which have come since.

    Raises:
      UserError: the disk is full.
    """
    if content is None:
        return
    held = _read(layout)
    first = content.digests if held is None else held[0]
    if len(first) != len(content.digests):
        return
    pairs = enumerate(zip(first, content.digests, strict=True))
    since = {place: new for place, (old, new) in pairs if old != new}
    if held == (first, since):
        return
    noted = {
        "first": [one.hex() for one in first],
        "since": {str(place): one.hex() for place, one in since.items()},
    }
    file = layout.directory / _FILE
    with atomic.disk_full_is_a_user_error(layout.directory, needed=100 * len(first)):
        atomic.write_atomically(file, json.dumps(noted).encode())


def _read(layout: shards.Layout) -> tuple[list[bytes], dict[int, bytes]] | None:
    """None where there is none, or it is damaged: config.json's digest alone decides then."""
    try:
        content = json_text.parse((layout.directory / _FILE).read_bytes())
        first = [bytes.fromhex(one) for one in content["first"]]
        since = {int(place): bytes.fromhex(one) for place, one in content["since"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return first, since


def _skipped(layout: shards.Layout) -> set[int]:
    missing = shards.missing_shards(
        layout, checksum=False, remove_damaged=False, report=lambda line: None
    )
    made = set(range(layout.num_shards)) - set(missing)
    return {
        entry["seed_id"] for shard in made for entry in shards.read_marker(layout, shard)["skipped"]
    }

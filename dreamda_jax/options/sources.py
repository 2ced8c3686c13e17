"""Sections of other sets than the seed images': what they have in common."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class OtherSet:
    """What differs from section "source"; a section whose fields are all None is not used."""

    kind: str | None = None
    """Of the set: "sample", "folder" or "tfds"; with it nothing is taken from section `source`."""
    path: str | None = None
    """Of a folder."""
    split: str | None = None
    """Of a TFDS set or of the sample."""
    name: str | None = None
    """Of a TFDS set."""

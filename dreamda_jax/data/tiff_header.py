"""What the first directory of a TIFF says of its samples, classic or BigTIFF (TIFF 6.0, section 2).

Pillow reads the pixels; this is for what it does not tell: whether white is 0 in more than eight
bits, how many bits count, and why a file is not read.
"""

import struct
from typing import NamedTuple

PHOTOMETRIC, BITS, SAMPLES, HIGHEST, SAMPLE_FORMAT = 262, 258, 277, 281, 339
_WANTED = (PHOTOMETRIC, BITS, SAMPLES, HIGHEST, SAMPLE_FORMAT)
_SHORT, _LONG = 3, 4
_MOST_ENTRIES = 4096  # an honest directory has a few dozen
_MOST_VALUES = 64


class TiffHeader(NamedTuple):
    """Of the first image.

    Attributes:
      order: "<" or ">", as `struct` writes it.
      tags: the values of those tags that this file names.
      places: where in the file the first value of each stands.
    """

    order: str
    tags: dict[int, tuple[int, ...]]
    places: dict[int, int]

    def first(self, tag: int, default: int) -> int:
        """The first value of a tag; `default` where the tag is not there."""
        return self.tags.get(tag, (default,))[0]


def read_header(content: bytes) -> TiffHeader | None:
    """The header; None of all other files and of one that is cut off in it."""
    order = {b"II": "<", b"MM": ">"}.get(content[:2])
    if order is None or len(content) < 8:
        return None
    try:
        (version,) = struct.unpack_from(f"{order}H", content, 2)
        if version == 42:
            (start,) = struct.unpack_from(f"{order}I", content, 4)
            return _directory(content, order, start, number="H", offset="I")
        if version == 43:
            (start,) = struct.unpack_from(f"{order}Q", content, 8)
            return _directory(content, order, start, number="Q", offset="Q")
    except (struct.error, OverflowError):
        pass
    return None


def _directory(
    content: bytes, order: str, start: int, *, number: str, offset: str
) -> TiffHeader | None:
    (count,) = struct.unpack_from(f"{order}{number}", content, start)
    if count > _MOST_ENTRIES:
        return None
    head, room = struct.Struct(f"{order}HH{offset}"), struct.calcsize(offset)
    tags: dict[int, tuple[int, ...]] = {}
    places: dict[int, int] = {}
    entry = start + struct.calcsize(number)
    for _ in range(count):
        tag, kind, values = head.unpack_from(content, entry)
        place = entry + head.size
        entry = place + room
        letter = {_SHORT: "H", _LONG: "I"}.get(kind)
        if tag not in _WANTED or letter is None or not 0 < values <= _MOST_VALUES:
            continue
        if struct.calcsize(letter) * values > room:
            (place,) = struct.unpack_from(f"{order}{offset}", content, place)
        tags[tag] = struct.unpack_from(f"{order}{values}{letter}", content, place)
        places[tag] = place
    return TiffHeader(order, tags, places)

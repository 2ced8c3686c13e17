"""Sound images that Pillow refuses or reads wrongly, brought into a form that it reads.

Two kinds: PNGs whose comments or colour profile are longer than Pillow allows, and TIFFs of more
than eight bits in which white is 0, which Pillow reads as their negatives or not at all.
"""

import struct
import zlib

_PNG = b"\x89PNG\r\n\x1a\n"
_WORDS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")  # nothing of them is used; orientation is in eXIf
_PHOTOMETRIC, _BITS = 262, 258
_SHORT = 3


def without_words(content: bytes) -> bytes | None:
    """A PNG without its comments and its colour profile; None where it has none, or is no PNG."""
    if not content.startswith(_PNG):
        return None
    kept, position = [_PNG], len(_PNG)
    while position + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, position)
        kind, end = content[position + 4 : position + 8], position + 12 + length
        if kind not in _WORDS:
            kept.append(content[position:end])
        position = end
    kept.append(content[position:])
    shorter = b"".join(kept)
    return shorter if len(shorter) < len(content) else None


def significant_bits(content: bytes) -> int | None:
    """What the sBIT chunk of a grey PNG says: how many bits of each sample count."""
    if not content.startswith(_PNG) or content[25:26] not in (b"\0", b"\4"):
        return None  # colours have one range for each channel
    position = len(_PNG)
    while position + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, position)
        kind = content[position + 4 : position + 8]
        if kind == b"IDAT":
            return None
        if kind == b"sBIT" and length >= 1 and position + 9 <= len(content):
            data = content[position + 8 : position + 8 + length]
            stored = content[position + 8 + length : position + 12 + length]
            if stored == struct.pack(">I", zlib.crc32(kind + data)):
                return data[0] if 0 < data[0] <= 16 else None
        position += 12 + length
    return None


def with_black_as_zero(content: bytes) -> bytes | None:
    """A TIFF of more than eight bits in which white was 0, its header saying the opposite.

    Returns:
      The content whose pixels are those of the negative; None for all other files.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(content[:4])
    if order is None or len(content) < 8:
        return None
    try:
        (start,) = struct.unpack_from(f"{order}I", content, 4)
        (count,) = struct.unpack_from(f"{order}H", content, start)
        place, bits = None, 1
        for number in range(count):
            entry = start + 2 + 12 * number
            tag, kind, values = struct.unpack_from(f"{order}HHI", content, entry)
            if tag not in (_PHOTOMETRIC, _BITS) or kind != _SHORT or values != 1:
                continue
            (value,) = struct.unpack_from(f"{order}H", content, entry + 8)
            if tag == _BITS:
                bits = value
            elif value == 0:
                place = entry + 8
    except struct.error:
        return None
    if place is None or bits <= 8:
        return None
    changed = bytearray(content)
    struct.pack_into(f"{order}H", changed, place, 1)
    return bytes(changed)

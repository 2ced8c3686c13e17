"""Sound images that Pillow refuses or reads wrongly, brought into a form that it reads.

Two kinds: PNGs whose comments or colour profile are longer than Pillow allows, and TIFFs of more
than eight bits in which white is 0, which Pillow reads as their negatives or not at all.
"""

import struct
import zlib

from dreamda_jax.data import tiff_header

_PNG = b"\x89PNG\r\n\x1a\n"
_WORDS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")  # nothing of them is used; orientation is in eXIf
_UNSIGNED = 1  # a TIFF's SampleFormat


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


def stated_white(content: bytes) -> float | None:
    """The highest value that grey of more than eight bits can have, as its file says.

    A PNG by its sBIT chunk, a TIFF by samples of 9 to 15 bits or by its MaxSampleValue; a PNM
    image, whose samples Pillow scales to sixteen bits. None where nothing is said.
    """
    if content[:2] in (b"P2", b"P5"):
        return 65535.0
    bits = _significant_bits(content)
    if bits is not None:
        return 2.0**bits - 1
    header = tiff_header.read_header(content)
    if header is None or header.first(tiff_header.SAMPLE_FORMAT, _UNSIGNED) != _UNSIGNED:
        return None
    bits, highest = header.first(tiff_header.BITS, 1), header.first(tiff_header.HIGHEST, 0)
    if 8 < bits < 16:
        return 2.0**bits - 1
    return float(highest) if bits == 16 and 255 < highest < 65535 else None


def has_unsigned_32_bits(content: bytes) -> bool:
    """Whether it is a TIFF of 32-bit counts, which Pillow takes for signed ones."""
    header = tiff_header.read_header(content)
    return (
        header is not None
        and header.first(tiff_header.BITS, 1) == 32
        and header.first(tiff_header.SAMPLE_FORMAT, _UNSIGNED) == _UNSIGNED
    )


def _significant_bits(content: bytes) -> int | None:
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
    header = tiff_header.read_header(content)
    if header is None or header.tags.get(tiff_header.PHOTOMETRIC) != (0,):
        return None
    if len(header.tags.get(tiff_header.BITS, ())) != 1 or header.first(tiff_header.BITS, 1) <= 8:
        return None
    changed = bytearray(content)
    place = header.places[tiff_header.PHOTOMETRIC]
    struct.pack_into(f"{header.order}H", changed, place, 1)
    return bytes(changed)

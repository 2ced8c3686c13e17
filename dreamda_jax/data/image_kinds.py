"""Why an image cannot be used; and what a file is that is none, by its first bytes."""

from collections.abc import Callable

from dreamda_jax.data import tiff_header

_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")

_AVIF_BRANDS = (b"avif", b"avis")
_TAR = b"ustar"

_NOT_READ: tuple[tuple[str, Callable[[bytes], bool]], ...] = (
    ("HEIC", lambda head: head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS),
    ("JPEG XL", lambda head: head.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL "))),
    ("a PDF", lambda head: head.startswith(b"%PDF")),
    ("a Photoshop file", lambda head: head.startswith(b"8BPS")),
    ("PostScript", lambda head: head.startswith((b"%!PS", b"\xc5\xd0\xd3\xc6"))),
    ("an SVG", lambda head: b"<svg" in head.lower()),
    ("a web page", lambda head: head.lstrip().lower().startswith((b"<!doctype html", b"<html"))),
    ("a Git LFS pointer", lambda head: head.startswith(b"version https://git-lfs")),
    ("a ZIP archive", lambda head: head.startswith(b"PK\x03\x04")),
    ("a gzip archive", lambda head: head.startswith(b"\x1f\x8b")),
    ("DICOM", lambda head: head[128:132] == b"DICM"),
    ("OpenEXR", lambda head: head.startswith(b"\x76\x2f\x31\x01")),
    ("an icon", lambda head: head.startswith((b"\0\0\1\0", b"icns"))),
    ("TGA", lambda head: head.startswith((b"\0\0\2\0\0\0\0\0", b"\0\0\x0a\0\0\0\0\0"))),
    ("DDS", lambda head: head.startswith(b"DDS ")),
    ("QOI", lambda head: head.startswith(b"qoif")),
    ("FITS", lambda head: head.startswith(b"SIMPLE  =")),
    ("a portable arbitrary map (P7)", lambda head: head.startswith(b"P7\n")),
    ("a numpy array", lambda head: head.startswith(b"\x93NUMPY")),
    ("HDF5", lambda head: head.startswith(b"\x89HDF\r\n")),
    ("an archive", lambda head: head.startswith((b"Rar!", b"7z\xbc\xaf")) or head[257:262] == _TAR),
    ("XML", lambda head: head.startswith((b"<?xml", b"\xef\xbb\xbf<?xml"))),
    ("JSON", lambda head: head.lstrip()[:1] in (b"{", b"[")),
    ("a camera's raw file", lambda head: head[4:12] == b"ftypcrx "),
    ("a video", lambda head: head[4:8] == b"ftyp" and head[8:12] not in _AVIF_BRANDS),
    ("a video", lambda head: head.startswith((b"\x1aE\xdf\xa3", b"FLV\1"))),
    ("a video", lambda head: head[:4] == b"RIFF" and head[8:12] == b"AVI "),
)
_HINTS = {
    "HEIC": "; convert it to JPEG",
    "JPEG XL": "; convert it to PNG",
    "a Git LFS pointer": "; git lfs pull brings the image",
}
_HEAD = 512
_READ_SAMPLES = {*((1, 1), (1, 2), (1, 4), (1, 8), (1, 16), (1, 32)), *((2, 16), (2, 32), (3, 32))}


class ImageError(ValueError):
    """One image cannot be used; the message is a short reason such as "truncated"."""


def what_it_is(content: bytes) -> str | None:
    """Such as "HEIC, which is not read here; convert it to JPEG"; None where nothing tells."""
    head = content[:_HEAD]
    for name, accepts in _NOT_READ:
        if accepts(head):
            return f"{name}, which is not read here{_HINTS.get(name, '')}"
    return _unusual_jpeg(content) or _unusual_tiff(content)


def _unusual_jpeg(content: bytes) -> str | None:
    """By the frame's header (ITU-T T.81, B.2.2): 12 bits, or a process that nobody decodes."""
    if not content.startswith(b"\xff\xd8"):
        return None
    position = 2
    while position + 5 <= len(content) and content[position] == 0xFF:
        marker = content[position + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if content[position + 4] != 8:
                return f"a JPEG of {content[position + 4]} bits, which is not read here"
            usual = marker in (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)
            return None if usual else "a lossless JPEG, which is not read here"
        fill = marker == 0xFF
        position += 1 if fill else 2 + int.from_bytes(content[position + 2 : position + 4])
    return None


def _unusual_tiff(content: bytes) -> str | None:
    """One whose samples are not of the kinds that Pillow reads."""
    header = tiff_header.read_header(content)
    if header is None or tiff_header.BITS not in header.tags:
        return None
    samples = header.first(tiff_header.SAMPLES, 1)
    bits, kind = header.first(tiff_header.BITS, 1), header.first(tiff_header.SAMPLE_FORMAT, 1)
    name = {1: "unsigned", 2: "signed", 3: "float"}.get(kind, "complex")
    several = samples == 1 or (kind == 1 and (samples <= 4 or bits == 8))
    if (kind, bits) in _READ_SAMPLES and several:
        return None
    return (
        f"a TIFF of {samples} x {bits} bits ({name}), which is not read here; convert it to "
        "8 or 16 bits, unsigned"
    )

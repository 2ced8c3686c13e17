"""Why an image cannot be used; and what a file is that is none, by its first bytes."""

from collections.abc import Callable

_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")

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
    ("a video", lambda head: head[4:8] == b"ftyp"),
)
_HINTS = {
    "HEIC": "; convert it to JPEG",
    "JPEG XL": "; convert it to PNG",
    "a Git LFS pointer": "; git lfs pull brings the image",
}
_HEAD = 512


class ImageError(ValueError):
    """One image cannot be used; the message is a short reason such as "truncated"."""


def what_it_is(content: bytes) -> str | None:
    """Such as "HEIC, which is not read here; convert it to JPEG"; None where nothing tells."""
    head = content[:_HEAD]
    for name, accepts in _NOT_READ:
        if accepts(head):
            return f"{name}, which is not read here{_HINTS.get(name, '')}"
    return None

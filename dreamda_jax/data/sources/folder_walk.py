"""Listing a folder: deterministic, safe against symbolic-link loops and odd file names."""

import collections
import os
import pathlib
import unicodedata
from collections.abc import Iterable, Sequence

from dreamda_jax.errors import UserError

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".bmp", ".dib", ".gif"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx", ".avif"),
)
"""Of what `transforms` decodes."""

USUAL_SUFFIXES = "jpg, jpeg, png, webp, bmp, gif, tif, tiff, ppm, jp2, avif"
"""For messages."""

_UNREAD_SUFFIXES = (
    *(".heic", ".heif", ".hif", ".jxl", ".svg", ".svgz", ".psd", ".eps", ".ai", ".ico", ".cur"),
    *(".tga", ".pcx", ".exr", ".hdr", ".dds", ".qoi", ".xcf", ".dcm", ".dicom", ".nii", ".fits"),
    *(".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pdf"),
)

# What operating systems and storage devices put beside the files of people.
_SYSTEM_NAMES = frozenset(
    {
        *("__macosx", "network trash folder", "temporary items", "desktop.ini", "thumbs.db"),
        *("$recycle.bin", "recycler", "recycled", "system volume information", "found.000"),
        *("lost+found", "@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot"),
        *("@tmp", "@sharebin", "ehthumbs.db", "icon\r", "__pycache__"),
    }
)


def is_hidden(name: str) -> bool:
    """Whether to pass over a file or folder: dot names, and what systems and devices add.

    Such as macOS' `__MACOSX`, Windows' `$RECYCLE.BIN` and `System Volume Information`, a Synology's
    `@eaDir` with its thumbnails, `lost+found`.
    """
    return name.startswith(".") or name.casefold() in _SYSTEM_NAMES


def is_image(file: str) -> bool:
    """Whether a file is an image by its suffix, in any case, and not hidden."""
    name = file.rsplit("/", 1)[-1]
    return name.lower().endswith(IMAGE_SUFFIXES) and not is_hidden(name)


def describe_ignored(ignored: Sequence[str]) -> str:
    """What a folder's reader passed over, by kind; "" where there is nothing.

    Args:
      ignored: paths relative to the folder, a folder's with a slash at its end.
    """
    unread: collections.Counter[str] = collections.Counter()
    hidden, others, images = [], [], []
    for file in ignored:
        name = file.rstrip("/").rsplit("/", 1)[-1]
        suffix = os.path.splitext(name)[1].lower()
        if is_hidden(name):
            hidden.append(file)
        elif suffix in _UNREAD_SUFFIXES:
            unread[suffix] += 1
        elif is_image(name):
            images.append(file)
        else:
            others.append(file)
    parts = []
    if unread:
        kinds = ", ".join(f"{suffix} ({count:,})" for suffix, count in unread.most_common(5))
        parts.append(f"images of a kind that is not read here: {kinds}")
    if images:
        parts.append(f"{len(images):,} images without a label: {first_few(images)}")
    if others:
        parts.append(f"{len(others):,} files that are no images: {first_few(others)}")
    if hidden:
        parts.append(f"{len(hidden):,} hidden or of the system: {first_few(hidden)}")
    return "; ".join(parts)


def sort_key(file: str) -> tuple[str, str]:
    """Order of paths on every file system; macOS may hand out decomposed names."""
    return unicodedata.normalize("NFC", file), file


def first_few(names: Sequence[str], count: int = 3) -> str:
    """`'a', 'b', 'c' and 4 more`."""
    shown = ", ".join(repr(name) for name in names[:count])
    rest = len(names) - count
    return f"{shown} and {rest} more" if rest > 0 else shown


def list_directory(directory: pathlib.Path) -> tuple[list[str], list[str]]:
    """Names of the sub-folders and of everything else in a folder, each sorted.

    Links are followed. A link that leads nowhere or round in a circle counts as a file: if it is
    named like an image, decoding will say what is wrong with it.

    Raises:
      UserError: the folder cannot be listed.
    """
    folders: list[str] = []
    files: list[str] = []
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                try:
                    is_folder = entry.is_dir()
                except OSError:  # a circle of links
                    is_folder = False
                (folders if is_folder else files).append(entry.name)
    except OSError as error:
        raise UserError(
            f"The folder {directory} cannot be listed: {error.strerror or error}. Mend its "
            "permissions or move it away."
        ) from error
    return sorted(folders, key=sort_key), sorted(files, key=sort_key)


def files_below(root: pathlib.Path, *, closed: Iterable[pathlib.Path] = ()) -> list[str]:
    """Paths of all files below `root`, relative to it, with forward slashes, sorted.

    Hidden folders are not entered. Links to folders are followed, but no folder is entered twice,
    nor one that `root` lies in, so loops end and a link upwards brings nothing along.

    Args:
      root: where to begin.
      closed: folders that are not entered either, such as those of other classes.

    Raises:
      UserError: a folder that cannot be listed.
    """
    found: list[str] = []
    visited = {
        identity
        for folder in (*root.resolve().parents, *closed)
        if (identity := _identity(folder)) is not None
    }
    pending = [""]  # relative paths, each with its trailing slash; no recursion: depth is hostile
    while pending:
        prefix = pending.pop()
        directory = root / prefix
        identity = _identity(directory)
        if identity is None:
            raise UserError(f"The folder {directory} cannot be opened. Mend or remove it.")
        if identity in visited:
            continue
        visited.add(identity)
        folders, files = list_directory(directory)
        found += [prefix + file for file in files]
        pending += [f"{prefix}{name}/" for name in reversed(folders) if not is_hidden(name)]
    return sorted(found, key=sort_key)


def _identity(directory: pathlib.Path) -> tuple[int, int] | None:
    """What tells a folder from all others, whatever the link to it; None: it cannot be opened."""
    try:
        status = directory.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino

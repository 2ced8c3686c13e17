"""Listing a folder: deterministic, safe against symbolic-link loops and odd file names."""

import os
import pathlib
import unicodedata
from collections.abc import Sequence

from dreamda_jax.errors import UserError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")


def is_hidden(name: str) -> bool:
    """Whether to pass over a file or folder: dot names and what macOS archives add."""
    return name.startswith(".") or name == "__MACOSX"


def is_image(file: str) -> bool:
    """Whether a file is an image by its suffix, in any case, and not hidden."""
    name = file.rsplit("/", 1)[-1]
    return name.lower().endswith(IMAGE_SUFFIXES) and not is_hidden(name)


def printable(file: str) -> str:
    """The name with whatever is not UTF-8 (lone surrogates) written as escapes."""
    return file.encode("utf-8", "backslashreplace").decode("utf-8")


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


def files_below(root: pathlib.Path) -> list[str]:
    """Paths of all files below `root`, relative to it, with forward slashes, sorted.

    Hidden folders are not entered. Links to folders are followed, but no folder is entered twice,
    so loops end.

    Raises:
      UserError: a folder that cannot be listed.
    """
    found: list[str] = []
    visited: set[tuple[int, int]] = set()
    pending = [""]  # relative paths, each with its trailing slash; no recursion: depth is hostile
    while pending:
        prefix = pending.pop()
        directory = root / prefix
        try:
            status = directory.stat()
        except OSError as error:
            raise UserError(
                f"The folder {directory} cannot be opened: {error.strerror or error}. Mend or "
                "remove it."
            ) from error
        identity = (status.st_dev, status.st_ino)
        if identity in visited:
            continue
        visited.add(identity)
        folders, files = list_directory(directory)
        found += [prefix + file for file in files]
        pending += [f"{prefix}{name}/" for name in reversed(folders) if not is_hidden(name)]
    return sorted(found, key=sort_key)

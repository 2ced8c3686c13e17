"""The images that metadata tables list, found on the disk whatever system wrote the table."""

import collections
import pathlib
import unicodedata
from collections.abc import Sequence

from dreamda_jax.data.sources import folder_walk
from dreamda_jax.data.sources.folder_metadata import MetadataRow, read_metadata
from dreamda_jax.data.sources.folder_walk import first_few
from dreamda_jax.errors import UserError

_Coded = list[tuple[str, str, str | None]]  # relative path, label code, caption


def codes_from_tables(
    root: pathlib.Path, tables: Sequence[pathlib.Path]
) -> tuple[_Coded, list[str], list[str]]:
    """What the tables of a folder say of its images.

    A name is that of a file of the same name; else of the one that differs in how accents are
    composed; else, with backslashes taken for the separators of Windows, likewise; else without
    white space around it, and whatever the case of its letters, where one file alone is meant. What
    is not found keeps its name, and is missing when it is decoded.

    Args:
      root: the image folder.
      tables: in it or in folders below; names in a table are relative to its folder.

    Returns:
      (path, label code, caption) of every row, paths relative to `root`; all other files; what is
      listed and not there.

    Raises:
      UserError: see `read_metadata`; labels of two kinds; of a table's files none is there.
    """
    on_disk = folder_walk.files_below(root)
    find = _Finder(root, on_disk)
    coded: _Coded = []
    kinds: dict[bool, pathlib.Path] = {}
    absent: list[str] = []
    for table in tables:
        folder = table.parent.relative_to(root).as_posix()
        prefix = "" if folder == "." else f"{folder}/"
        rows, missing = [], []
        for row in read_metadata(table):
            found = find(prefix, row)
            rows.append((found or prefix + row.file_name, row.label, row.text))
            if found is None:
                missing.append(row.file_name)
        if len(missing) == len(rows):
            raise UserError(
                f"{table}: of the {len(rows):,} files it lists none is there, such as "
                f"{first_few(missing, 1)}{_with_suffix(missing[0], on_disk)}. Names are relative "
                f"to the folder of the table, {table.parent}: mend them, or give the folder that "
                "holds the images."
            )
        absent += [prefix + name for name in missing]
        kinds.setdefault(all(label.isdecimal() for _, label, _ in rows), table)
        coded += rows
    if len(kinds) > 1:
        raise UserError(
            f"{kinds[True]} has numbers for labels and {kinds[False]} has names. Use one kind in "
            "all tables."
        )
    listed = {file for file, _, _ in coded}
    listed |= {table.relative_to(root).as_posix() for table in tables}
    return coded, [file for file in on_disk if file not in listed], absent


def _with_suffix(name: str, on_disk: Sequence[str]) -> str:
    """A hint where names lack the suffix of the files."""
    stem = name.rsplit("/", 1)[-1]
    for file in on_disk:
        last = file.rsplit("/", 1)[-1]
        if folder_walk.is_image(last) and last.rpartition(".")[0] == stem:
            return f" ({file!r} is there: names need their suffix)"
    return ""


class _Finder:
    """From the name in a table to the file."""

    def __init__(self, root: pathlib.Path, on_disk: Sequence[str]) -> None:
        self._root = root
        self._exact = set(on_disk)
        self._composed: dict[str, list[str]] = collections.defaultdict(list)
        self._folded: dict[str, list[str]] = collections.defaultdict(list)
        for file in on_disk:
            composed = unicodedata.normalize("NFC", file)
            self._composed[composed].append(file)
            self._folded[composed.casefold()].append(file)

    def __call__(self, prefix: str, row: MetadataRow) -> str | None:
        slashes = "/".join(part for part in row.file_name.replace("\\", "/").split("/") if part)
        for name in (row.file_name, slashes):
            file = prefix + name
            if file in self._exact:
                return file
            alike = self._composed.get(unicodedata.normalize("NFC", file), [])
            if len(alike) == 1:
                return alike[0]
            if self._exists(file):  # in a hidden folder, which is not listed
                return file
        bare = unicodedata.normalize("NFC", prefix + slashes.strip())
        for alike in (self._composed.get(bare, []), self._folded.get(bare.casefold(), [])):
            if len(alike) == 1:
                return alike[0]
        return None

    def _exists(self, file: str) -> bool:
        try:
            return (self._root / file).is_file()
        except (OSError, ValueError):
            return False

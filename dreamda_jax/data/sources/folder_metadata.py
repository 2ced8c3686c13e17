"""`metadata.jsonl` and `metadata.csv` beside the images, as Hugging Face's imagefolder has them."""

import codecs
import csv
import io
import pathlib
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from dreamda_jax.data.files import json_text
from dreamda_jax.data.files.regular import check_regular
from dreamda_jax.data.sources.folder_walk import files_below, first_few
from dreamda_jax.errors import UserError
from dreamda_jax.printable import well_formed

_REQUIRED = ("file_name", "label")
_TABLES = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
_SEPARATORS = (",", ";", "\t", "|")


class MetadataRow(NamedTuple):
    """One image of the table."""

    file_name: str
    """Relative to the folder, forward slashes, no "." or ".."; the file need not exist."""
    label: str
    """The label code: a class name, or an integer in decimal."""
    text: str | None


def find_tables(root: pathlib.Path) -> list[pathlib.Path]:
    """The tables that give a folder's labels: its own, or else those of the folders below it.

    Raises:
      UserError: a folder has two, or one of a kind that is not read here (parquet); or both the
        folder and some below it have one.
    """
    below = [file for file in files_below(root) if file.rsplit("/", 1)[-1] in _TABLES]
    folders = sorted({(root / file).parent for file in below})
    found = [table for folder in folders if (table := _table_of(folder)) is not None]
    if len(found) > 1 and found[0].parent == root:
        raise UserError(
            f"{found[0]} and {found[1]} both list images. Keep one: the table of the folder for "
            "all images, or one in each folder for its own."
        )
    return found


def _table_of(root: pathlib.Path) -> pathlib.Path | None:
    """The folder's own metadata file, or None.

    Raises:
      UserError: both jsonl and csv, or only a kind that is not read here (parquet).
    """
    found = [root / f"metadata.{suffix}" for suffix in ("jsonl", "csv")]
    found = [file for file in found if check_regular(file).is_file()]
    if len(found) == 2:
        raise UserError(
            f"{root} holds both metadata.jsonl and metadata.csv. Remove one: only one can give "
            "the labels."
        )
    if not found and (root / "metadata.parquet").is_file():
        raise UserError(
            f"{root} holds metadata.parquet, which is not supported. Save it as metadata.jsonl or "
            "metadata.csv (pandas: `read_parquet(...).to_csv('metadata.csv', index=False)`)."
        )
    return found[0] if found else None


def read_metadata(file: pathlib.Path) -> list[MetadataRow]:
    """Reads the table, checking every row.

    Args:
      file: `metadata.jsonl` (one JSON object a line) or `metadata.csv` (with a header; separated
        by comma, semicolon, tab or bar, whichever the header shows), UTF-8, or UTF-16 with the mark
        that Windows puts before it. `label` is a string or an integer >= 0, the same kind in every
        row; where a CSV has 1 and 1.0, both are 1.

    Returns:
      The rows in the order of the file. One image may have several rows with different captions.

    Raises:
      UserError: a line that does not parse (with its number), a missing column, a row without a
        label, strings and integers mixed, a `file_name` outside of the folder, one file with two
        labels.
    """
    try:
        content = _decoded(check_regular(file).read_bytes())
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UserError(f"{file}, line {line}: not UTF-8. Save the file as UTF-8.") from error
    if "\0" in content:
        raise UserError(f"{file}: not a text (it has NUL characters). Save the file as UTF-8.")

    parse = _jsonl_lines if file.suffix == ".jsonl" else _csv_lines
    rows: list[MetadataRow] = []
    first_seen: dict[str, tuple[int, str]] = {}
    kinds: dict[type, int] = {}
    for line, record in parse(file, content):
        where = f"{file}, line {line}"
        missing = [column for column in _REQUIRED if column not in record]
        if missing:
            raise UserError(
                f"{where}: no column {' and no column '.join(map(repr, missing))}; there are "
                f"{first_few(list(record), 10) or 'no columns'}. Needed are file_name and label."
            )
        file_name = _relative(where, record["file_name"])
        label = _label(where, record["label"])
        kinds.setdefault(type(label), line)
        if len(kinds) > 1:
            raise UserError(
                f"{where}: label {label!r} is {_kind(label)}, but line {min(kinds.values())} has "
                "another kind. Use strings in every row, or integers in every row."
            )
        earlier_line, earlier_label = first_seen.setdefault(file_name, (line, str(label)))
        if earlier_label != str(label):
            raise UserError(
                f"{where}: {file_name!r} has the label {str(label)!r}, but {earlier_label!r} in "
                f"line {earlier_line}. Keep one of the two."
            )
        text = record.get("text")
        if text is not None and not isinstance(text, str):
            raise UserError(f"{where}: text is {text!r}; it must be a string.")
        rows.append(MetadataRow(file_name, str(label), well_formed(text) if text else None))
    if not rows:
        raise UserError(f"No images: {file} has no rows. Add a row with file_name and label.")
    _refuse_negative(file, rows, first_seen)
    whole = {row.label for row in rows if row.label.isdecimal()}
    if whole:  # "1.0" is what pandas makes of 1 in a column with gaps
        shorter = (re.sub(r"^(\d+)\.0+$", r"\1", row.label) for row in rows)
        rows = [row._replace(label=label) for row, label in zip(rows, shorter, strict=True)]
    return rows


def _decoded(content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    return content.decode("utf-8-sig")


def _refuse_negative(
    file: pathlib.Path, rows: list[MetadataRow], first_seen: dict[str, tuple[int, str]]
) -> None:
    """In CSV everything is a string: numbers are known by all of them being numbers."""
    if not all(re.fullmatch(r"-?\d+(\.0+)?", row.label) for row in rows):
        return
    for row in rows:
        if row.label.startswith("-"):
            line = first_seen[row.file_name][0]
            raise UserError(
                f"{file}, line {line}: the row has no label ({row.label}). Give it one or remove "
                "the row."
            )


def _jsonl_lines(file: pathlib.Path, content: str) -> Iterator[tuple[int, dict[str, Any]]]:
    # Split at "\n" only: str.splitlines would also cut at U+2028, which JSON strings may hold.
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json_text.parse(line, object_pairs_hook=_without_repeats)
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"{file}, line {number}: not valid JSON ({error}). Every line must be one object "
                'such as {"file_name": "0001.png", "label": "cat"}.'
            ) from error
        if not isinstance(record, dict):
            raise UserError(
                f"{file}, line {number}: {type(record).__name__} instead of an object such as "
                '{"file_name": "0001.png", "label": "cat"}.'
            )
        yield number, record


def _csv_lines(file: pathlib.Path, content: str) -> Iterator[tuple[int, dict[str, Any]]]:
    header, separator, skipped = _header(content)
    reader = csv.DictReader(
        io.StringIO(content[skipped:], newline=""),
        strict=True,
        delimiter=separator,
        skipinitialspace=header != [name.strip() for name in header],
    )
    lines_before = content[:skipped].count("\n")
    try:
        names = [name.strip() for name in reader.fieldnames or []]
        repeated = [name for name in names if name and names.count(name) > 1]
        if repeated:
            raise UserError(f"{file}: the column {repeated[0]!r} is there twice. Remove one.")
        reader.fieldnames = names
        for record in reader:
            if not any(value and str(value).strip() for value in record.values()):
                continue  # what spreadsheets leave below a table
            if None in record:
                raise UserError(
                    f"{file}, line {lines_before + reader.line_num}: more fields than the header "
                    f"has, at the separator {separator!r}. Put quotes round a field that holds it."
                )
            yield lines_before + reader.line_num, record
    except csv.Error as error:
        raise UserError(
            f"{file}, line {lines_before + reader.line_num}: not valid CSV ({error}). Check its "
            "quotes."
        ) from error


def _header(content: str) -> tuple[list[str], str, int]:
    """(Column names as they stand, the separator, characters before the header)."""
    first, _, rest = content.partition("\n")
    stated = re.fullmatch(r"sep=(.)\s*", first, re.IGNORECASE)  # Excel's own line
    skipped = len(first) + 1 if stated else 0
    line = rest.partition("\n")[0] if stated else first
    separators = (stated[1],) if stated else _SEPARATORS

    def columns(separator: str) -> list[str]:
        return next(csv.reader([line.rstrip("\r")], delimiter=separator), [])

    try:
        # The separator that shows the columns asked for; where none does, the comma.
        found = {each: {name.strip() for name in columns(each)} for each in separators}
        best = max(separators, key=lambda each: len(found[each].intersection(_REQUIRED)))
        return columns(best), best, skipped
    except csv.Error:
        return [], separators[0], skipped


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(n for n in names if names.count(n) > 1)!r} is there twice")
    return record


def _relative(where: str, file_name: object) -> str:
    if not isinstance(file_name, str) or not file_name.strip():
        raise UserError(f"{where}: file_name is {file_name!r}; it must name a file.")
    # A backslash separates on Windows: what would leave the folder there is refused everywhere.
    parts = re.split(r"[/\\]", file_name)
    if parts[0] == "" or re.match(r"[A-Za-z]:", file_name) or ".." in parts or "\0" in file_name:
        raise UserError(
            f"{where}: file_name {file_name!r} leaves the folder. It must be relative to the "
            "folder of the metadata file, without '..'."
        )
    relative = "/".join(part for part in file_name.split("/") if part not in ("", "."))
    if not relative:
        raise UserError(f"{where}: file_name is {file_name!r}; it must name a file.")
    return relative


def _label(where: str, label: object) -> str | int:
    if label is None or (isinstance(label, str) and not label.strip()):
        raise UserError(
            f"{where}: the row has no label. Give it one or remove the row: every image needs one."
        )
    if isinstance(label, bool) or not isinstance(label, str | int):
        raise UserError(f"{where}: label {label!r} is neither a string nor an integer.")
    if isinstance(label, str):
        return well_formed(label.strip())
    if label < 0:  # Hugging Face marks unlabelled test images with -1
        raise UserError(f"{where}: the row has no label ({label}). Give it one or remove the row.")
    return label


def _kind(label: object) -> str:
    return "a string" if isinstance(label, str) else "an integer"

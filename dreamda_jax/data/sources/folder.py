"""A folder of images: a sub-folder per class, a metadata table, or labels in file names."""

import dataclasses
import os
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, SupportsIndex

from dreamda_jax.data.files import staging
from dreamda_jax.data.sources import folder_doubts, folder_metadata, folder_tables, folder_walk
from dreamda_jax.data.sources.folder_walk import first_few, is_image
from dreamda_jax.data.sources.labels import check_label_names, slug
from dreamda_jax.data.sources.source import Example, checked_index, listing_fingerprint
from dreamda_jax.errors import UserError
from dreamda_jax.printable import printable

_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


@dataclasses.dataclass(frozen=True)
class FolderSource:
    """The images of one folder with their labels; see `open_folder`.

    `source[i].content` is a path, which may be missing or damaged: that is found out, image by
    image, when it is decoded. The order is that of the relative paths, the same on every file
    system.
    """

    name: str
    root: pathlib.Path
    label_names: tuple[str, ...]
    files: tuple[str, ...]
    """Paths relative to `root`, with forward slashes, sorted."""
    labels: tuple[int, ...]
    texts: tuple[str | None, ...]
    ignored: tuple[str, ...]
    """What else lies in the folder: hidden and non-image files, images without a label."""
    missing: tuple[str, ...] = ()
    """What a table lists and is not there; `files` has it too."""
    grey_max: float | None = None

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: SupportsIndex) -> Example:
        place = checked_index(index, len(self))
        file = self.files[place]
        return Example(
            place,
            printable(file),
            self.labels[place],
            self.root / file,
            self.texts[place],
            self.grey_max,
        )

    def fingerprint(self) -> str:
        """Sha256 (hex) of the listing; see `sources.Source`. Where the folder lies is not in it."""
        return listing_fingerprint(
            {"source": "folder", "label_names": list(self.label_names)},
            zip(map(printable, self.files), self.labels, self.texts, strict=True),
        )


def open_folder(
    path: str | os.PathLike[str] | None,
    *,
    label_pattern: str | None = None,
    label_names: Mapping[object, str] | Sequence[str] | None = None,
    classes: Literal["auto", "sub_folders"] = "auto",
    grey_max: float | None = None,
) -> FolderSource:
    r"""Opens an image folder in one of three layouts.

    - `label_pattern` given: files anywhere below `path`; the expression is searched in each file
      name and its first group is the label code. `r"_(\d)\.png$"` with `label_names={"0":
      "normal", "1": "tuberculosis"}` reads Shenzhen's `CHNCXR_0001_0.png`.
    - `metadata.jsonl` or `metadata.csv` in `path`, or one in each of its folders: columns
      `file_name` (relative to the table's folder), `label` (a string or an integer) and optionally
      `text`, as in Hugging Face's imagefolder.
    - otherwise `path/class/**.jpg`: a class per sub-folder, in sorted order.

    Image files are known by suffix, in any case: those of `folder_walk.IMAGE_SUFFIXES`. Some files
    that the metadata lists may not be there; they fail when decoded.

    Args:
      path: the folder; "~" is expanded.
      label_pattern: regular expression with at least one group.
      label_names: class names by label code (a mapping, in label order) or by integer label (a
        sequence). Without it the codes are the names.
      classes: "auto" refuses folders whose sub-folders look like splits, or like a folder around
        the classes; "sub_folders" takes them for the classes, whatever they are called.
      grey_max: what is white in grey images of more than eight bits, such as 4095 where samples
        have 12; 0 is black. None: by each image (`transforms.decode_image`).

    Returns:
      The source. `ignored` says what was passed over.

    Raises:
      UserError: no such folder; no image; a class without an image; metadata that do not parse,
        lack a column, a label, or leave the folder, or of whose files none is there; a file name
        that the pattern does not match; class names that collide; sub-folders that are no
        classes; images of several splits; a bad `grey_max`.
    """
    if path is None or not os.fspath(path):  # what a config leaves open
        raise UserError("The image folder is not set. Give --config.source.path=FOLDER.")
    root = image_root(path)
    if classes not in ("auto", "sub_folders"):
        raise UserError(f"source.classes={classes!r}: choose auto or sub_folders.")
    check_grey_max(grey_max)
    if label_names is not None and not isinstance(label_names, Mapping):
        if isinstance(label_names, str):
            raise UserError(
                f"label_names is the string {label_names!r}. Give a mapping from label code to "
                "class name, or a list of names."
            )
        label_names = dict(enumerate(label_names))
    names_by_code = {str(code): str(name) for code, name in (label_names or {}).items()}

    tables = [] if label_pattern is not None else folder_metadata.find_tables(root)
    missing: list[str] = []
    if label_pattern is not None:
        coded, ignored = _codes_from_names(root, label_pattern)
    elif tables:
        coded, ignored, missing = folder_tables.codes_from_tables(root, tables)
    elif names_by_code:
        raise UserError(
            f"label_names was given, but {root} has neither metadata.jsonl nor metadata.csv and "
            "no label_pattern was given. In a folder with a sub-folder per class the sub-folders "
            "are the names: leave label_names out, or add label_pattern."
        )
    else:
        coded, ignored = _codes_from_sub_folders(root, ask=classes == "auto")
    if not coded:
        raise UserError(
            f"No images in {root}{_found(ignored)}. Image files end in "
            f"{folder_walk.USUAL_SUFFIXES}.{_other_kind(root)}"
        )
    if classes == "auto" and (label_pattern is not None or len(tables) > 1):
        folder_doubts.refuse_splits(root, (file for file, _, _ in coded))

    codes, names = _classes(root, [code for _, code, _ in coded], names_by_code)
    check_label_names(names)
    coded.sort(key=lambda item: folder_walk.sort_key(item[0]))  # stable: captions keep their order
    return FolderSource(
        name=slug(root.name),
        root=root,
        label_names=tuple(names),
        files=tuple(file for file, _, _ in coded),
        labels=tuple(codes[code] for _, code, _ in coded),
        texts=tuple(text for _, _, text in coded),
        ignored=tuple(printable(file) for file in ignored),
        missing=tuple(printable(file) for file in missing),
        grey_max=grey_max,
    )


_Coded = list[tuple[str, str, str | None]]  # relative path, label code, caption


def _codes_from_sub_folders(root: pathlib.Path, *, ask: bool) -> tuple[_Coded, list[str]]:
    folders, loose = folder_walk.list_directory(root)
    hidden = [f"{folder}/" for folder in folders if folder_walk.is_hidden(folder)]
    folders = [folder for folder in folders if not folder_walk.is_hidden(folder)]
    if ask:
        folder_doubts.refuse_doubtful(root, folders, loose)
    coded: _Coded = []
    ignored = [*loose, *hidden]
    empty = []
    for folder in folders:
        # What a link in one class leads to upwards or sideways is not of that class.
        closed = [root, *root.parents, *(root / other for other in folders if other != folder)]
        found = folder_walk.files_below(root / folder, closed=closed)
        below = [f"{folder}/{file}" for file in found]
        images = [file for file in below if is_image(file)]
        coded += [(file, printable(folder), None) for file in images]
        ignored += [file for file in below if not is_image(file)]
        if not images:
            empty.append(f"{printable(folder)!r}{_found(below)}")
    loose_images = [file for file in loose if is_image(file)]
    if loose_images and not coded:
        tables = folder_doubts.tables_beside(loose)
        beside = f" ({first_few(tables)} may have the labels)" if tables else ""
        raise UserError(
            f"{root} holds {len(loose_images)} images ({first_few(loose_images)}) but nothing "
            "that gives their labels. Sort them into one sub-folder per class, or add "
            f"metadata.csv with the columns file_name and label{beside}, or set label_pattern."
        )
    if empty and coded:
        raise UserError(
            f"Class folders without a single image in {root}: {', '.join(empty[:10])}. Remove "
            f"them or add images (files ending in {folder_walk.USUAL_SUFFIXES})."
        )
    return coded, ignored


def _codes_from_names(root: pathlib.Path, label_pattern: str) -> tuple[_Coded, list[str]]:
    try:
        pattern = re.compile(label_pattern)
    except (re.error, TypeError) as error:
        raise UserError(
            f"label_pattern {label_pattern!r} is not a regular expression: {error}."
        ) from error
    if pattern.groups < 1:
        raise UserError(
            f"label_pattern {label_pattern!r} has no group. Put parentheses round the part of the "
            r"file name that is the label, as in '_(\d)\.png$'."
        )
    coded: _Coded = []
    ignored, unmatched = [], []
    for file in folder_walk.files_below(root):
        if not is_image(file):
            ignored.append(file)
            continue
        match = pattern.search(file.rsplit("/", 1)[-1])
        if match is None or not match.group(1):
            unmatched.append(file)
        else:
            coded.append((file, printable(match.group(1)), None))
    if unmatched:
        raise UserError(
            f"label_pattern {label_pattern!r} finds no label in the name of {len(unmatched)} of "
            f"{len(coded) + len(unmatched)} images in {root}: {first_few(unmatched)}. Mend the "
            "pattern or move those files away."
        )
    return coded, ignored


def _classes(
    root: pathlib.Path, codes: Iterable[str], names_by_code: Mapping[str, str]
) -> tuple[dict[str, int], list[str]]:
    """Label ids by code, and class names by label id."""
    present = set(codes)
    if not names_by_code:
        if all(_NUMBER.fullmatch(code) for code in present):
            order = sorted(present, key=lambda code: (float(code), code))  # 2 before 10
        else:
            order = sorted(present, key=folder_walk.sort_key)
        return {code: i for i, code in enumerate(order)}, order
    unknown = sorted(present - names_by_code.keys())
    if unknown:
        raise UserError(
            f"label_names has no name for the label code {first_few(unknown, 10)} found in {root}; "
            f"it names {first_few(list(names_by_code), 10)}. Add the missing codes."
        )
    unused = [f"{code} ({name})" for code, name in names_by_code.items() if code not in present]
    if unused:
        raise UserError(
            f"Classes without a single image in {root}: {first_few(unused, 10)}. Leave them out "
            "of label_names or add images."
        )
    return {code: i for i, code in enumerate(names_by_code)}, list(names_by_code.values())


def image_root(path: str | os.PathLike[str]) -> pathlib.Path:
    """The absolute path of an image folder; "~" is expanded.

    Raises:
      UserError: it does not exist, cannot be opened or is not a directory.
    """
    root = pathlib.Path(os.path.abspath(staging.local(path)))
    try:
        root.stat()
    except OSError as error:
        parent = next((p for p in root.parents if p.is_dir()), None)
        hint = f" (the nearest folder that exists is {parent})" if parent else ""
        raise UserError(
            f"The image folder {root} cannot be opened: {error.strerror or error}{hint}. Check the "
            "path."
        ) from error
    except ValueError as error:  # a NUL character in the path
        raise UserError(f"{str(root)!r} is not a valid path: {error}.") from error
    if not root.is_dir():
        raise UserError(
            f"{root} is not a directory. Give the folder that holds the images (unpack an archive "
            "first)."
        )
    return root


def check_grey_max(grey_max: float | None) -> None:
    """Refuses what cannot be white.

    Raises:
      UserError: not a number above 0.
    """
    if grey_max is None:
        return
    number = isinstance(grey_max, int | float) and not isinstance(grey_max, bool)
    if not (number and 0 < grey_max < float("inf")):
        raise UserError(
            f"source.grey_max={grey_max!r}: give the value that is white in grey images of more "
            "than eight bits, such as 4095 where samples have 12."
        )


def _other_kind(root: pathlib.Path) -> str:
    if not (root / "features.json").is_file():
        return ""
    return (
        f" This is a set of records: give it as source.kind=tfds with source.data_dir={root}, in a "
        "configuration such as configs/pets.py."
    )


def _found(ignored: Sequence[str]) -> str:
    return f" (only {first_few([printable(file) for file in ignored])})" if ignored else ""

"""Folders whose sub-folders are no classes though they could be taken for such: refused.

An archive's own folder, the splits of a set and the folders beside them make classifiers that look
trained and are not. Each refusal has the line that makes it right; `source.classes=sub_folders`
says that the sub-folders are the classes all the same.
"""

import collections
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence

from dreamda_jax.data.sources import folder_walk
from dreamda_jax.data.sources.folder_walk import first_few, is_hidden, is_image
from dreamda_jax.errors import UserError

_TRAIN = {"train", "training", "trn", "tr"}
_TEST = {"test", "testing", "tst"}
_HELD_OUT = {"val", "valid", "validation", "dev", "test", "testing", "tst", "eval", "evaluation"}
_HELD_OUT_ALONE = {"holdout", "heldout"}
_PARTS = {
    *("images", "image", "imgs", "img", "jpg", "jpeg", "jpegs", "png", "pngs"),
    *("photos", "photo", "pictures", "rgb"),
    *("masks", "mask", "labels", "annotations", "annotation", "segmentation", "segmentations"),
    *("trimaps", "bboxes", "boxes", "groundtruth", "ground", "truth", "gt"),
    *("xml", "xmls", "json", "depth"),
}
"""What the parts of a set are called that has more than pictures."""
_TABLE_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".xlsx", ".xls", ".ods", ".mat", ".parquet")
_DEEPEST = 16  # folders in one another that hold nothing else
_ALL_THE_SAME = "Are they the classes all the same? Add --config.source.classes=sub_folders."


def refuse_doubtful(root: pathlib.Path, folders: Sequence[str], loose: Sequence[str]) -> None:
    """Makes sure that sub-folders can be the classes.

    Args:
      root: the image folder.
      folders: its sub-folders but hidden ones, sorted.
      loose: its files.

    Raises:
      UserError: they look like splits, like pictures and what belongs to them, or like a folder
        around the classes.
    """
    inner = {folder: _Below(root, folder) for folder in folders}
    splits = _named_splits(folders)
    if not splits:
        _refuse_parts(root, folders, inner)
        splits = _splits_by_content(folders, inner)
    if splits:
        raise _are_splits(root, splits, inner, loose)
    if len(folders) == 1 and not any(map(is_image, loose)):
        _refuse_one(root, inner[folders[0]], folders[0], loose)


def refuse_splits(root: pathlib.Path, files: Iterable[str]) -> None:
    """The same of images whose labels come from their names, or from a table in each folder.

    Args:
      root: the image folder.
      files: the images, relative to it.

    Raises:
      UserError: some lie in a folder for training and some in one for testing.
    """
    folders = sorted({file.split("/")[0] for file in files if "/" in file})
    splits = _named_splits(folders)
    if len(splits) > 1:
        raise _are_splits(root, splits, {name: _Below(root, name) for name in splits}, ())


def tables_beside(loose: Sequence[str]) -> list[str]:
    """Of some files those that may hold labels."""
    named = [file for file in loose if file.lower().endswith(_TABLE_SUFFIXES)]
    return [file for file in named if not is_hidden(file)]


class _Below:
    """What a folder holds, or the one folder in it that is all it holds.

    Attributes:
      path: of that folder, relative to the root.
      folders: in it, but hidden ones.
      has_images: whether some lie in it.
    """

    def __init__(self, root: pathlib.Path, name: str) -> None:
        self.path = name
        for _ in range(_DEEPEST):
            folders, files = folder_walk.list_directory(root / self.path)
            self.folders = [each for each in folders if not is_hidden(each)]
            self.has_images = any(map(is_image, files))
            if self.has_images or len(self.folders) != 1:
                break
            self.path = f"{self.path}/{self.folders[0]}"


def _are_splits(
    root: pathlib.Path, splits: Sequence[str], inner: Mapping[str, _Below], loose: Sequence[str]
) -> UserError:
    train = next((name for name in splits if _words(name) & _TRAIN), splits[0])
    held_out = [name for name in splits if name != train]
    more = labels = ""
    if held_out:
        test = next((name for name in held_out if _words(name) & _TEST), held_out[-1])
        more = f" (and --config.test.path={root / inner[test].path} to measure on)"
    tables = tables_beside(loose)
    if tables and inner[train].has_images and not inner[train].folders:
        labels = (
            f" Its images have no class folders; {first_few(tables)} may have their labels: put "
            "them into a metadata.csv beside the images, with the columns file_name and label."
        )
    return UserError(
        f"{root} holds the splits {first_few(splits, 10)}, not classes. Give one of them: "
        f"--config.source.path={root / inner[train].path}{more}.{labels} {_ALL_THE_SAME}"
    )


def _refuse_parts(root: pathlib.Path, folders: Sequence[str], inner: Mapping[str, _Below]) -> None:
    """Pictures beside their masks or annotations, in the folder or in that of each class."""
    if len(folders) > 1 and all(_words(name) and _words(name) <= _PARTS for name in folders):
        raise UserError(
            f"{root} holds the folders {first_few(folders, 10)}, which look like pictures and what "
            "belongs to them, not like classes. Sort the pictures into one sub-folder per class, "
            "or put a metadata.csv with the columns file_name and label beside them and give "
            f"their folder as --config.source.path. {_ALL_THE_SAME}"
        )
    for name in folders:
        below = inner[name]
        if len(below.folders) > 1 and all(_words(part) <= _PARTS for part in below.folders):
            raise UserError(
                f"{root / below.path} holds the folders {first_few(below.folders)}: all of them "
                f"would be read as images of the class {name!r}. Move what are no pictures of it "
                "away. Are they all pictures? Add --config.source.classes=sub_folders."
            )


def _refuse_one(root: pathlib.Path, below: _Below, only: str, loose: Sequence[str]) -> None:
    if not below.has_images and len(below.folders) > 1:
        raise UserError(
            f"{root} holds the one folder {below.path!r} with the folders "
            f"{first_few(below.folders, 10)} in it, which look like the classes: give "
            f"--config.source.path={root / below.path}. Or is {only!r} the one class? Add "
            "--config.source.classes=sub_folders."
        )
    tables = tables_beside(loose)
    if tables:
        raise UserError(
            f"{root} holds the one folder {only!r}, and {first_few(tables)}, which may have the "
            "labels of its images: put them into a metadata.csv in "
            f"{root}, with the columns file_name (such as {only}/0001.jpg) and label. Or is "
            f"{only!r} the one class? Add --config.source.classes=sub_folders."
        )


def _named_splits(folders: Sequence[str]) -> list[str]:
    """Those sub-folders that are splits of a set by their names; empty if they are classes."""
    named = [name for name in folders if _words(name) & (_TRAIN | _HELD_OUT | _HELD_OUT_ALONE)]
    if named and len(named) == len(folders):
        return named
    train = any(_words(name) & _TRAIN for name in named)
    if train and any(_words(name) & (_HELD_OUT | _HELD_OUT_ALONE) for name in named):
        return named
    return []


def _splits_by_content(folders: Sequence[str], inner: Mapping[str, _Below]) -> list[str]:
    """Without any word: folders of nothing but folders, the same ones in each."""
    around = [name for name in folders if inner[name].folders and not inner[name].has_images]
    if len(around) < 2:
        return []
    counts = collections.Counter(
        below.casefold() for name in around for below in set(inner[name].folders)
    )
    repeated = sum(count for count in counts.values() if count > 1)
    return list(around) if 2 * repeated > counts.total() else []


def _words(name: str) -> set[str]:
    """Of "seg_train", "train2017", "trainingSet" and "Test-Images"."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return set(re.findall(r"[a-z]+", apart.lower()))

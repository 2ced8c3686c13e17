"""Folders whose sub-folders are no classes though they could be taken for such: refused.

An archive's own folder, the splits of a set and the folders beside them make classifiers that look
trained and are not. Each refusal has the line that makes it right; `source.classes=sub_folders`
says that the sub-folders are the classes all the same.
"""

import collections
import pathlib
import re
from collections.abc import Sequence

from dreamda_jax.data.sources import folder_walk
from dreamda_jax.data.sources.folder_walk import first_few, is_hidden, is_image
from dreamda_jax.errors import UserError

_TRAIN = {"train", "training", "trn", "tr"}
_HELD_OUT = {"val", "valid", "validation", "dev", "test", "testing", "tst", "eval", "evaluation"}
_HELD_OUT_ALONE = {"holdout", "heldout"}
_ALL_THE_SAME = "Are they the classes all the same? Add --config.source.classes=sub_folders."


def refuse_doubtful(root: pathlib.Path, folders: Sequence[str], loose: Sequence[str]) -> None:
    """Makes sure that sub-folders can be the classes.

    Args:
      root: the image folder.
      folders: its sub-folders but hidden ones, sorted.
      loose: its files.

    Raises:
      UserError: they look like splits, or like a folder around the classes.
    """
    inner = {folder: _Below(root / folder) for folder in folders}
    splits = _splits(folders, inner)
    if splits:
        train = next((name for name in splits if _words(name) & _TRAIN), splits[0])
        held_out = [name for name in splits if name != train]
        more = ""
        if held_out:
            last = root / held_out[-1]
            more = f" (and --config.test.path={last} to measure on)"
        raise UserError(
            f"{root} holds the splits {first_few(splits, 10)}, not classes. Give one of them: "
            f"--config.source.path={root / train}{more}. {_ALL_THE_SAME}"
        )
    if len(folders) == 1 and not any(map(is_image, loose)):
        (only,) = folders
        below = inner[only]
        if not below.has_images and len(below.folders) > 1:
            raise UserError(
                f"{root} holds the one folder {only!r} with the folders "
                f"{first_few(below.folders, 10)} in it, which look like the classes: give "
                f"--config.source.path={root / only}. Or is {only!r} the one class? Add "
                "--config.source.classes=sub_folders."
            )


class _Below:
    """The first level of a folder."""

    def __init__(self, directory: pathlib.Path) -> None:
        folders, files = folder_walk.list_directory(directory)
        self.folders = [name for name in folders if not is_hidden(name)]
        self.has_images = any(map(is_image, files))


def _splits(folders: Sequence[str], inner: dict[str, _Below]) -> list[str]:
    """Those sub-folders that are splits of a set; empty if they are classes."""
    named = [name for name in folders if _words(name) & (_TRAIN | _HELD_OUT | _HELD_OUT_ALONE)]
    if named and len(named) == len(folders):
        return named
    train = any(_words(name) & _TRAIN for name in named)
    if train and any(_words(name) & (_HELD_OUT | _HELD_OUT_ALONE) for name in named):
        return named
    # Without any word: folders of nothing but folders, the same ones in each.
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

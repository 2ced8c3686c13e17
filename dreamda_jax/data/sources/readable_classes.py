"""Classes of which not one image can be read: as good as an empty folder."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from dreamda_jax.data.sources.folder_walk import first_few
from dreamda_jax.data.sources.source import Source
from dreamda_jax.data.transforms import ImageError, decode_image
from dreamda_jax.errors import UserError

_SIDE = 32  # pixels: scaling to more would cost and show nothing


class Unreadable(NamedTuple):
    """A class without an image that can be read.

    Attributes:
      name: of the class.
      num_images: all of them broken.
      first: "file: reason" of the first.
    """

    name: str
    num_images: int
    first: str


def unreadable_classes(source: Source) -> list[Unreadable]:
    """Looks for one image of each class that can be decoded, in order, and stops at it.

    A set of sound images costs one image a class. A source that does not have its labels in memory
    is not looked at; nor is one without any image that can be read, which is another error.
    """
    labels = getattr(source, "labels", None)
    if labels is None:
        return []
    of_each = np.asarray(labels, np.int64)
    order = np.argsort(of_each, kind="stable")
    present, starts = np.unique(of_each[order], return_index=True)
    groups = np.split(order, starts[1:])

    def look(group: np.ndarray) -> str:
        return _first_reason(source, group.tolist())

    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        reasons = list(threads.map(look, groups))
    if all(reasons):
        return []
    return [
        Unreadable(source.label_names[label], len(group), reason)
        for label, group, reason in zip(present.tolist(), groups, reasons, strict=True)
        if reason
    ]


def in_words(found: Sequence[Unreadable], *, what: str) -> str:
    """What is wrong with them, and what to do.

    Args:
      found: at least one.
      what: whose classes they are, such as "the images to expand".
    """
    return (
        f"no image of the class {first_few([each.name for each in found], 10)} in {what} can be "
        f"read: {found[0].num_images:,} of {found[0].name!r} were tried, the first is "
        f"{found[0].first}. Mend or convert them under the same names, or leave the class out."
    )


def refuse_unreadable_classes(source: Source | None, *, what: str, begun: bool) -> list[str]:
    """Refuses a set with such classes.

    Args:
      source: the set; None is fine.
      what: see `in_words`.
      begun: whether a run with these images has made something; it goes on then.

    Returns:
      Of a run that goes on the line that says so, if there is need.

    Raises:
      UserError: there is such a class, and nothing was made yet.
    """
    found = unreadable_classes(source) if source is not None else []
    if not found:
        return []
    words = in_words(found, what=what)
    if not begun:
        raise UserError(words)
    return [f"warning   {words}"]


def _first_reason(source: Source, places: Sequence[int]) -> str:
    """Why the first of these images cannot be read; "" if any of them can."""
    first = ""
    for place in places:
        example = source[place]
        try:
            decode_image(example.content, resolution=_SIDE, crop="squash")
        except ImageError as error:
            first = first or f"{example.name}: {error}"
        else:
            return ""
    return first

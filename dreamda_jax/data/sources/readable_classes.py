"""A look at one image of each class: classes without any, which are as good as an empty folder.

And images that are nearly black or white.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from dreamda_jax.data.sources.folder_walk import first_few
from dreamda_jax.data.sources.source import Source
from dreamda_jax.data.tonal_range import is_narrow
from dreamda_jax.data.transforms import ImageError, decode_image
from dreamda_jax.errors import UserError

_SIDE = 32  # pixels: scaling to more would cost and show nothing
_MOST_RECORDS = 20_000  # that are read for their labels alone


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


class Looked(NamedTuple):
    """What a look at a set has shown.

    Attributes:
      unreadable: classes without an image that can be read.
      num_seen: images that were decoded, one of each other class.
      narrow: the names of those that use little of the range from black to white.
    """

    unreadable: list[Unreadable]
    num_seen: int
    narrow: list[str]


class _Class(NamedTuple):
    num_tried: int
    first: str  # why the first of them cannot be read; "" if one can
    narrow: str  # its name where it uses little of the range


def look(source: Source) -> Looked:
    """Looks for one image of each class that can be decoded, in order, and stops at it.

    A set of sound images costs one image a class. Of a set that does not have its labels in memory,
    such as records, images are read in their order until every class has been met; of one with more
    than 20,000, classes that are not met among these are not judged. A set without any image that
    can be read has no such class: that is another error.
    """
    labels = getattr(source, "labels", None)
    found = _in_order(source) if labels is None else _by_class(source, np.asarray(labels, np.int64))
    good = {label: one for label, one in found.items() if not one.first}
    narrow = [one.narrow for one in good.values() if one.narrow]
    if not good:
        return Looked([], 0, [])
    unreadable = [
        Unreadable(source.label_names[label], one.num_tried, one.first)
        for label, one in sorted(found.items())
        if one.first
    ]
    return Looked(unreadable, len(good), narrow)


def unreadable_classes(source: Source) -> list[Unreadable]:
    """See `look`."""
    return look(source).unreadable


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
      A line where images use little of the range from black to white; and of a run that goes on
      the line that names the classes.

    Raises:
      UserError: there is such a class, and nothing was made yet.
    """
    if source is None:
        return []
    found = look(source)
    lines = []
    if found.unreadable:
        words = in_words(found.unreadable, what=what)
        if not begun:
            raise UserError(words)
        lines.append(f"warning   {words}")
    if found.narrow:
        lines.append(
            f"note      {len(found.narrow):,} of {found.num_seen:,} that were looked at of {what} "
            "use under 1/8 of the range from black to white, such as "
            f"{found.narrow[0]}: {HOW_TO_WIDEN}"
        )
    return lines


HOW_TO_WIDEN = (
    "if they are 16-bit images of fewer bits, give the value that is white, such as "
    "--config.source.grey_max=4095"
)


def _by_class(source: Source, labels: np.ndarray) -> dict[int, _Class]:
    order = np.argsort(labels, kind="stable")
    present, starts = np.unique(labels[order], return_index=True)
    groups = np.split(order, starts[1:])
    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        found = list(threads.map(lambda group: _first_good(source, group.tolist()), groups))
    return dict(zip(present.tolist(), found, strict=True))


def _first_good(source: Source, places: Sequence[int]) -> _Class:
    first = ""
    for place in places:
        reason, narrow = _try(source, place)
        if not reason:
            return _Class(len(places), "", narrow)
        first = first or reason
    return _Class(len(places), first, "")


def _in_order(source: Source) -> dict[int, _Class]:
    found: dict[int, _Class] = {}
    waiting = set(range(len(source.label_names)))
    for place in range(min(len(source), _MOST_RECORDS)):
        if not waiting:
            break
        label = source[place].label
        if label not in waiting:
            continue
        reason, narrow = _try(source, place)
        earlier = found.get(label, _Class(0, reason, ""))
        found[label] = _Class(earlier.num_tried + 1, reason and earlier.first, narrow)
        if not reason:
            waiting.discard(label)
    if len(source) <= _MOST_RECORDS:
        return found
    return {label: one for label, one in found.items() if not one.first}


def _try(source: Source, place: int) -> tuple[str, str]:
    """Why an image cannot be read, "" if it can; and its name if it uses little of the range."""
    example = source[place]
    try:
        image = decode_image(
            example.content, resolution=_SIDE, crop="squash", grey_max=example.grey_max
        )
    except ImageError as error:
        return f"{example.name}: {error}", ""
    return "", example.name if is_narrow(image.pixels) else ""

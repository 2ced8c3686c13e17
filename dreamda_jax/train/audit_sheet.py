"""A contact sheet of verdicts: accepted, relabelled and rejected images, a row per class."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dreamda_jax.data.drawing import INK, PAPER, Colour, drawable, fit, save_png, thumbnail
from dreamda_jax.data.sets.verdicts import Verdicts

CELL, LINE, GAP = 112, 14, 6
HEADER, MARGIN, BETWEEN_GROUPS = 28, 150, 20
IMAGES_PER_GROUP, MOST_CLASSES = 4, 20
_COLOURS: tuple[Colour, ...] = ((50, 120, 60), (190, 120, 10), (180, 50, 40))
_TITLES = ("accepted with the seed's class", "accepted with another class", "rejected")
_SHORT = ("kept", "changed", "rejected")
_EMPTY: Colour = (225, 225, 225)


def audit_sheet(
    verdicts: Verdicts,
    *,
    label_names: Sequence[str],
    image_of: Callable[[int], np.ndarray | None],
    path: Path,
) -> None:
    """Writes a PNG: for each class of the seeds up to four images of each of three groups.

    Images, and classes if there are many, are spread evenly over the set; the same verdicts give
    the same sheet. Under an accepted image stands its class; under a rejected one the classes that
    the heads named, the most named first, or the uncertainty and the one class they named.

    Args:
      verdicts: of n images; without any, nothing is written.
      label_names: c names.
      image_of: uint8 [h, w, 3] of an image by its place in the verdicts; None: a grey square.
      path: of the PNG; an older one is replaced in one step.
    """
    present = np.unique(verdicts.seed_label)
    if not len(present):
        return
    classes = spread(present, MOST_CLASSES)
    right, bottom = cell_corner(len(classes), 2, IMAGES_PER_GROUP)
    sheet = Image.new("RGB", (right, bottom), PAPER)
    draw = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(size=15), ImageFont.load_default(size=11)
    for group, title in enumerate(_TITLES):
        draw.text((cell_corner(0, group, 0)[0], 5), title, fill=_COLOURS[group], font=large)
    same = verdicts.pseudo_label == verdicts.seed_label
    groups = (verdicts.accepted & same, verdicts.accepted & ~same, ~verdicts.accepted)
    for row, label in enumerate(classes):
        top = cell_corner(row, 0, 0)[1]
        name = fit(drawable(label_names[label]), large, MARGIN - 2 * GAP)
        draw.text((GAP, top + 20), name, fill=INK, font=large)
        for group, members in enumerate(groups):
            places = np.flatnonzero(members & (verdicts.seed_label == label))
            draw.text(
                (GAP, top + 46 + 15 * group),
                f"{len(places):,} {_SHORT[group]}",
                fill=_COLOURS[group],
                font=small,
            )
            for column, place in enumerate(spread(places, IMAGES_PER_GROUP)):
                x, y = cell_corner(row, group, column)
                pixels = image_of(int(place))
                if pixels is None:
                    draw.rectangle((x, y, x + CELL - 1, y + CELL - 1), fill=_EMPTY)
                else:
                    sheet.paste(thumbnail(Image.fromarray(pixels), CELL), (x, y))
                for line, words in enumerate(caption(verdicts, int(place), label_names)):
                    words = fit(drawable(words), small, CELL)
                    corner = (x, y + CELL + 1 + line * LINE)
                    draw.text(corner, words, fill=_COLOURS[group], font=small)
    save_png(sheet, path)


def cell_corner(row: int, group: int, column: int) -> tuple[int, int]:
    """The left upper pixel (x, y) of an image on the sheet."""
    x = MARGIN + (group * IMAGES_PER_GROUP + column) * (CELL + GAP) + group * BETWEEN_GROUPS
    return x, HEADER + row * (CELL + 2 * LINE + GAP)


def spread(values: np.ndarray, most: int) -> np.ndarray:
    """At most `most` of the values: the middles of equally long stretches of them."""
    if len(values) <= most:
        return values
    return values[(2 * np.arange(most) + 1) * len(values) // (2 * most)]


def caption(verdicts: Verdicts, place: int, label_names: Sequence[str]) -> list[str]:
    """The accepted class, or why there is none and what the heads named, as lines."""
    if verdicts.accepted[place]:
        return [label_names[verdicts.pseudo_label[place]]]
    if not verdicts.decoded[place]:
        return ["undecodable"]
    named = Counter(verdicts.predictions[place].tolist()).most_common()
    names = "/".join(label_names[label] for label, _ in named)
    if len(named) > 1:
        return ["disagree:", names]
    uncertainty = verdicts.uncertainty[place]
    reason = "" if np.isnan(uncertainty) else f"variance {uncertainty:.2g}"
    return [line for line in (reason, names) if line]

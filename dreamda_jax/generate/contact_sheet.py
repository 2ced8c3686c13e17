"""A contact sheet: for each class one seed image and its variants, a row per class.

Of many classes a choice is shown, so that a sheet costs the same whatever the set.
"""

import io
import pathlib
from collections.abc import Iterable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dreamda_jax.data.drawing import ACCENT, INK, PAPER, drawable, fit, save_png, thumbnail

MOST_ROWS = 24
_CELL, _GAP, _LABEL, _MAX_VARIANTS = 128, 4, 150, 8
_MADE_OF = "dreamda_jax made of"  # a text chunk of the PNG


def choose_rows(labels: Iterable[int]) -> list[int]:
    """At most `MOST_ROWS` of these labels, evenly spread over them in order."""
    ordered = sorted(set(labels))
    count = min(len(ordered), MOST_ROWS)
    return [ordered[place * len(ordered) // count] for place in range(count)]


def is_made_of(path: pathlib.Path, digest: str) -> bool:
    """Whether there is a whole sheet that was saved with this digest."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            found = image.info.get(_MADE_OF)
            image.verify()  # the checksum of every chunk, to the end of the file
    except Exception:  # Pillow's readers raise nearly anything on damaged files
        return False
    return found == digest


class ContactSheet:
    """Keeps the lowest seed id of each class, so that the finished sheet depends on the set only.

    Args:
      label_names: of all classes.
      labels: those to show, a row for each, in order; None: the first that come, as many as fit.
    """

    def __init__(self, label_names: tuple[str, ...], labels: Iterable[int] | None = None) -> None:
        self._label_names = label_names
        self._chosen = None if labels is None else set(labels)
        self._rows: dict[int, tuple[int, Image.Image, list[Image.Image]]] = {}

    @property
    def seeds(self) -> dict[int, int]:
        """The seed id shown for each label."""
        return {label: row[0] for label, row in sorted(self._rows.items())}

    def wants(self, label: int, seed_id: int) -> bool:
        """Whether this seed would replace the one shown for its class."""
        if label in self._rows:
            return seed_id < self._rows[label][0]
        return len(self._rows) < MOST_ROWS if self._chosen is None else label in self._chosen

    def add(self, label: int, seed_id: int, seed: np.ndarray, variants: list[bytes]) -> None:
        """Shows a seed (uint8 [h, w, 3]) and its variants (encoded images) for its class."""
        pictures = [Image.open(io.BytesIO(data)) for data in variants[:_MAX_VARIANTS]]
        thumbnails = [thumbnail(picture, _CELL) for picture in pictures]
        self._rows[label] = (seed_id, thumbnail(Image.fromarray(seed), _CELL), thumbnails)

    def save(self, path: pathlib.Path, *, digest: str = "") -> None:
        """Writes the sheet as PNG, replacing an older one in one step; nothing if it has no row.

        Args:
          path: of the file.
          digest: of what it shows, for `is_made_of`.
        """
        if not self._rows:
            return
        columns = 1 + max(len(row[2]) for row in self._rows.values())
        step = _CELL + _GAP
        header = 24
        size = (_LABEL + columns * step + 2 * _GAP, header + len(self._rows) * step + _GAP)
        sheet = Image.new("RGB", size, PAPER)
        draw = ImageDraw.Draw(sheet)
        font = ImageFont.load_default(size=15)
        if len(self._rows) < len(self._label_names):
            shown = f"{len(self._rows)} of {len(self._label_names):,}"
            draw.text((_GAP, 4), fit(shown, font, _LABEL - 2 * _GAP), fill=INK, font=font)
        draw.text((_LABEL, 4), "seed", fill=ACCENT, font=font)
        draw.text((_LABEL + step + _GAP, 4), "variants", fill=INK, font=font)
        for y, label in enumerate(sorted(self._rows)):
            _, seed, variants = self._rows[label]
            top = header + y * step
            name = fit(drawable(self._label_names[label]), font, _LABEL - 2 * _GAP)
            draw.text((_GAP, top + _CELL // 2), name, fill=INK, font=font, anchor="lm")
            sheet.paste(seed, (_LABEL, top))
            draw.rectangle(
                (_LABEL - 2, top - 2, _LABEL + _CELL + 1, top + _CELL + 1), outline=ACCENT, width=2
            )
            for x, picture in enumerate(variants):
                sheet.paste(picture, (_LABEL + (x + 1) * step + _GAP, top))
        save_png(sheet, path, text={_MADE_OF: digest})

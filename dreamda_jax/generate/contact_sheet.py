"""A contact sheet: for each class one seed image and its variants, a row per class."""

import io
import pathlib

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dreamda_jax.data.drawing import ACCENT, INK, PAPER, drawable, fit, save_png, thumbnail

_CELL, _GAP, _LABEL, _MAX_VARIANTS = 128, 4, 150, 8


class ContactSheet:
    """Keeps the lowest seed id of each class, so that the finished sheet depends on the set only.

    Args:
      label_names: a row for each, in this order.
    """

    def __init__(self, label_names: tuple[str, ...]) -> None:
        self._label_names = label_names
        self._rows: dict[int, tuple[int, Image.Image, list[Image.Image]]] = {}

    def wants(self, label: int, seed_id: int) -> bool:
        """Whether this seed would replace the one shown for its class."""
        return label not in self._rows or seed_id < self._rows[label][0]

    def add(self, label: int, seed_id: int, seed: np.ndarray, variants: list[bytes]) -> None:
        """Shows a seed (uint8 [h, w, 3]) and its variants (encoded images) for its class."""
        pictures = [Image.open(io.BytesIO(data)) for data in variants[:_MAX_VARIANTS]]
        thumbnails = [thumbnail(picture, _CELL) for picture in pictures]
        self._rows[label] = (seed_id, thumbnail(Image.fromarray(seed), _CELL), thumbnails)

    def save(self, path: pathlib.Path) -> None:
        """Writes the sheet as PNG, replacing an older one in one step; nothing if it has no row."""
        if not self._rows:
            return
        columns = 1 + max(len(row[2]) for row in self._rows.values())
        step = _CELL + _GAP
        header = 24
        size = (_LABEL + columns * step + 2 * _GAP, header + len(self._rows) * step + _GAP)
        sheet = Image.new("RGB", size, PAPER)
        draw = ImageDraw.Draw(sheet)
        font = ImageFont.load_default(size=15)
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
        save_png(sheet, path)

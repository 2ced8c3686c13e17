"""A sheet of pictures made from prompts, each with its prompt below: what fine-tuning shows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dreamda_jax.data.drawing import INK, PAPER, drawable, fit, save_png, thumbnail

_CELL, _GAP, _TEXT, _COLUMNS = 160, 6, 20, 8


def sample_sheet(pictures: np.ndarray, prompts: Sequence[str], path: Path) -> None:
    """Writes the sheet as PNG, replacing an older one in one step.

    Args:
      pictures: uint8 [n, h, w, 3], at least one.
      prompts: one for each.
      path: of the file; its directory is made.
    """
    columns = min(_COLUMNS, len(pictures))
    rows = -(-len(pictures) // columns)
    step = (_CELL + _GAP, _CELL + _TEXT + _GAP)
    sheet = Image.new("RGB", (columns * step[0] + _GAP, rows * step[1] + _GAP), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=12)
    for place, (pixels, prompt) in enumerate(zip(pictures, prompts, strict=True)):
        left, top = _GAP + place % columns * step[0], _GAP + place // columns * step[1]
        sheet.paste(thumbnail(Image.fromarray(pixels), _CELL), (left, top))
        text = fit(drawable(prompt), font, _CELL)
        draw.text((left + _CELL // 2, top + _CELL + 2), text, fill=INK, font=font, anchor="ma")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_png(sheet, path)

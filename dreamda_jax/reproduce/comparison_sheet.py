"""A sheet of the same few seeds in every cell: a row a cell, the real images above them."""

import io
from collections.abc import Mapping
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from dreamda_jax.data.drawing import ACCENT, INK, PAPER, drawable, fit, save_png, thumbnail
from dreamda_jax.data.loader import load_seeds
from dreamda_jax.data.sources import Source
from dreamda_jax.data.sources.synthetic_source import SyntheticSource
from dreamda_jax.data.transforms import Crop

_CELL, _GAP, _SPACE, _LABEL, _HEADER = 96, 4, 10, 190, 22
_SEEDS, _VARIANTS = 6, 2


def comparison_sheet(
    sets: Mapping[str, Path], seeds: Source, path: Path, *, resolution: int, crop: Crop
) -> bool:
    """Draws it, replacing an older one in one step.

    Args:
      sets: by cell the directory of its finished set; all made of the same seeds.
      seeds: the real images, whose places are the sets' seed ids.
      path: of the PNG.
      resolution: of the real images.
      crop: of them, "center" or "squash".

    Returns:
      Whether there was anything to draw: seeds that are in every set.

    Raises:
      UserError: a set is damaged, or the disk is full.
    """
    opened = {name: SyntheticSource(directory) for name, directory in sets.items()}
    places = {name: _places(source) for name, source in opened.items()}
    common = sorted(set.intersection(*map(set, places.values()))) if places else []
    if not common:
        return False
    count = min(_SEEDS, len(common))
    chosen = [common[place * len(common) // count] for place in range(count)]
    step, group = _CELL + _GAP, _VARIANTS * (_CELL + _GAP) + _SPACE
    size = (_LABEL + count * group, _HEADER + (1 + len(opened)) * step + _GAP)
    sheet = Image.new("RGB", size, PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=14)
    rows = [("seed images", ACCENT), *((name, INK) for name in opened)]
    for row, (name, colour) in enumerate(rows):
        text = fit(drawable(name), font, _LABEL - 2 * _GAP)
        draw.text((_GAP, _HEADER + row * step + _CELL // 2), text, colour, font, anchor="lm")
    loaded = load_seeds(seeds, chosen, resolution=resolution, crop=crop)
    for column, seed in enumerate(loaded):
        left = _LABEL + column * group
        name = fit(drawable(seeds.label_names[seed.label]), font, group - _SPACE)
        draw.text((left, 3), name, fill=INK, font=font)
        if seed.pixels is not None:
            sheet.paste(thumbnail(Image.fromarray(seed.pixels), _CELL), (left, _HEADER))
        for row, (cell, source) in enumerate(opened.items(), 1):
            for number, place in enumerate(places[cell][seed.index][:_VARIANTS]):
                corner = (left + number * step, _HEADER + row * step)
                sheet.paste(_picture(source, place), corner)
    save_png(sheet, path)
    return True


def _places(source: SyntheticSource) -> dict[int, list[int]]:
    """By seed the places of its variants, the first ones first."""
    found: dict[int, list[int]] = {}
    for place in range(len(source)):
        found.setdefault(source.seed_of(place)[0], []).append(place)
    return found


def _picture(source: SyntheticSource, place: int) -> Image.Image:
    content = source[place].content
    assert isinstance(content, bytes)  # a synthetic set holds encoded images
    with Image.open(io.BytesIO(content)) as image:
        return thumbnail(image, _CELL)

"""What pictures share: colours, thumbnails, text that fits, plots as files."""

import io
import unicodedata
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageFont, PngImagePlugin

from dreamda_jax.data.files.atomic import disk_full_is_a_user_error, write_atomically

if TYPE_CHECKING:  # sheets of images need no matplotlib
    from matplotlib.figure import Figure

Colour = tuple[int, int, int]
Font = ImageFont.ImageFont | ImageFont.FreeTypeFont

_DPI = 120  # of plots

PAPER: Colour = (250, 250, 250)
INK: Colour = (30, 30, 30)
ACCENT: Colour = (200, 60, 40)


def thumbnail(picture: Image.Image, side: int) -> Image.Image:
    """An RGB square of `side` pixels."""
    # Small images are enlarged with hard pixel edges: smoothing would flatter them.
    small = max(picture.size) < side
    resampling = Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS
    return picture.convert("RGB").resize((side, side), resampling)


def drawable(text: str) -> str:
    """Without accents, which Pillow's own font lacks; other scripts become question marks."""
    plain = unicodedata.normalize("NFKD", text)
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return plain.encode("ascii", "replace").decode()


def fit(text: str, font: Font, width: int) -> str:
    """The text, its end cut off if it is wider than `width` pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


def save_png(sheet: Image.Image, path: Path, *, text: Mapping[str, str] | None = None) -> None:
    """Writes a PNG, replacing an older one in one step.

    Args:
      sheet: the picture.
      path: of the file.
      text: what to write into it besides, by keyword.

    Raises:
      UserError: the disk is full.
    """
    encoded = io.BytesIO()
    info = PngImagePlugin.PngInfo()
    for keyword, value in (text or {}).items():
        info.add_text(keyword, value)
    sheet.save(encoded, format="PNG", pnginfo=info)
    with disk_full_is_a_user_error(path.parent, needed=encoded.tell()):
        write_atomically(path, encoded.getvalue())


def save_figure(figure: "Figure", path: Path) -> None:
    """Writes a figure as PNG, replacing an older one in one step."""
    encoded = io.BytesIO()
    with warnings.catch_warnings():
        # The font lacks some scripts. A box stands for each letter; a warning for each is no help.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        # "tight" lets the picture grow by what the names need; the axes keep their size.
        figure.savefig(encoded, format="png", dpi=_DPI, bbox_inches="tight", pad_inches=0.15)
    write_atomically(path, encoded.getvalue())

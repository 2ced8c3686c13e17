"""The pictures of a report: contact sheets of classes, and pairs that look like copies."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from dreamda_jax.data import sources
from dreamda_jax.data.transforms import ImageError, decode_image
from dreamda_jax.evaluate.build import Evaluation
from dreamda_jax.evaluate.page.page import Gallery, GalleryRow
from dreamda_jax.runtime.sweep import Swept

_MOST_PICTURES = 1200  # of all contact sheets together: some 10 MB at 256 pixels


MOST_PIXELS = 256  # a side
_LOSSLESS_UP_TO = 96  # a side; small images are small files, and JPEG shows in them
_QUALITY = 85


class Pictures:
    """Reads images by set and place, and keeps them by key, each once.

    Args:
      parts: the checked configuration.
    """

    def __init__(self, parts: Evaluation) -> None:
        self._view = parts.view
        self._sets: dict[str, sources.Source | None] = {
            "real": parts.real,
            "synthetic": parts.synthetic,
            "test": parts.test,
            "seed": parts.seeds,
        }
        self.encoded: dict[str, bytes] = {}

    def key(self, which: str, place: int) -> str | None:
        """The key of an image, which is read if it is new; None if it cannot be decoded."""
        key = f"{which}/{place}"
        if key not in self.encoded:
            source = self._sets[which]
            assert source is not None
            try:
                example = source[place]
                image = decode_image(
                    example.content,
                    resolution=self._view.resolution,
                    crop=self._view.crop,
                    grey_max=example.grey_max,
                )
            except ImageError:
                return None
            self.encoded[key] = encode(image.pixels)
        return key


def galleries(parts: Evaluation, synthetic: Swept, pictures: Pictures) -> list[Gallery]:
    """A contact sheet per class: its first seeds and their first variants.

    Where the seeds are not known (the set is an image folder), images of the class in their order.
    Of many classes fewer seeds are shown, so that the page can be opened.
    """
    options = parts.options
    number = len(parts.label_names)
    most = max(1, _MOST_PICTURES // (number * (1 + options.gallery_variants)))
    shown = min(options.gallery_seeds, most)
    rows_of = _rows(parts, synthetic, shown)
    made = []
    for label, name in enumerate(parts.label_names):
        rows = []
        for seed_id, places in rows_of.get(label, {}).items():
            variants = [pictures.key("synthetic", place) for place in places]
            seed = pictures.key("seed", seed_id) if parts.seeds is not None else None
            rows.append(
                GalleryRow(
                    seed_name=parts.synthetic[places[0]].name.rsplit("/", 1)[0] if seed else name,
                    seed_image=seed,
                    variant_images=[key for key in variants if key is not None],
                )
            )
        if rows:
            made.append(Gallery(name, rows))
    return made


def _rows(
    parts: Evaluation, synthetic: Swept, shown: int
) -> Mapping[int, Mapping[int, Sequence[int]]]:
    """By class and seed the places of the variants to show; without seeds, of images in order."""
    most = parts.options.gallery_variants
    found: dict[int, dict[int, list[int]]] = {}
    for number, (place, label) in enumerate(
        zip(synthetic.places.tolist(), synthetic.row_labels.tolist(), strict=True)
    ):
        rows = found.setdefault(label, {})
        if parts.made is not None:
            group = parts.made.seed_of(place)[0]
        else:  # a new row when the last one is full
            last = next(reversed(rows), number)
            group = last if len(rows.get(last, ())) < most else number
        if group not in rows and len(rows) < shown:
            rows[group] = []
        if len(rows.get(group, range(most))) < most:
            rows[group].append(place)
    return found


def encode(pixels: np.ndarray) -> bytes:
    """An image as PNG if it is small, else as JPEG of at most 256 pixels a side.

    Args:
      pixels: uint8 [h, w, 3].
    """
    picture = Image.fromarray(pixels)
    data = io.BytesIO()
    if max(picture.size) <= _LOSSLESS_UP_TO:
        picture.save(data, "PNG", optimize=True)
    else:
        picture.thumbnail((MOST_PIXELS, MOST_PIXELS), Image.Resampling.LANCZOS)
        picture.save(data, "JPEG", quality=_QUALITY)
    return data.getvalue()

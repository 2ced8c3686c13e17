"""The pictures of a report: contact sheets of classes, and pairs that look like copies."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from dreamda_jax.data import sources
from dreamda_jax.data.transforms import ImageError, decode_image
from dreamda_jax.evaluate.page.page import Gallery, GalleryRow
from dreamda_jax.runtime.sweep import Swept, View

_MOST_PICTURES = 1200  # of all contact sheets together: some 10 MB at 256 pixels


MOST_PIXELS = 256  # a side
_LOSSLESS_UP_TO = 96  # a side; small images are small files, and JPEG shows in them
_QUALITY = 85


class Pictures:
    """Reads images by set and place, and keeps them by key, each once.

    Args:
      sets: by the name that they have in keys.
      view: how images are read.
    """

    def __init__(self, sets: Mapping[str, sources.Source], view: View) -> None:
        self._sets, self._view = sets, view
        self.encoded: dict[str, bytes] = {}

    def key(self, which: str, place: int) -> str | None:
        """The key of an image, which is read if it is new; None if it cannot be decoded."""
        key = f"{which}/{place}"
        if key not in self.encoded:
            try:
                example = self._sets[which][place]
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


def galleries(
    synthetic: Swept,
    pictures: Pictures,
    *,
    label_names: Sequence[str],
    seed_ids: np.ndarray | None,
    with_seeds: bool,
    num_seeds: int,
    num_variants: int,
) -> list[Gallery]:
    """A contact sheet per class: its first seeds and their first variants.

    Where the seeds are not known (the set is an image folder), images of the class in their order.
    Of many classes fewer seeds are shown, so that the page can be opened.

    Args:
      synthetic: the images to judge.
      pictures: where they are read.
      label_names: the classes.
      seed_ids: int64 [m], the seed of each of them; None where it is not known.
      with_seeds: whether `pictures` has the seeds themselves.
      num_seeds: of a class, at most.
      num_variants: of a seed, at most.
    """
    most = max(1, _MOST_PICTURES // (len(label_names) * (1 + num_variants)))
    shown = min(num_seeds, most)
    rows_of = _rows(synthetic, seed_ids, num_rows=shown, most=num_variants)
    made = []
    for label, name in enumerate(label_names):
        rows = []
        for seed_id, places in rows_of.get(label, {}).items():
            variants = [pictures.key("synthetic", place) for place in places]
            seed = pictures.key("seed", seed_id) if with_seeds else None
            rows.append(
                GalleryRow(
                    seed_name=_seed_name(synthetic, places[0]) if seed else name,
                    seed_image=seed,
                    variant_images=[key for key in variants if key is not None],
                )
            )
        if rows:
            made.append(Gallery(name, rows))
    return made


def _seed_name(synthetic: Swept, place: int) -> str:
    return synthetic.source[place].name.rsplit("/", 1)[0]


def _rows(
    synthetic: Swept, seed_ids: np.ndarray | None, *, num_rows: int, most: int
) -> Mapping[int, Mapping[int, Sequence[int]]]:
    """By class and seed the places of the variants to show; without seeds, of images in order."""
    found: dict[int, dict[int, list[int]]] = {}
    for number, (place, label) in enumerate(
        zip(synthetic.places.tolist(), synthetic.row_labels.tolist(), strict=True)
    ):
        rows = found.setdefault(label, {})
        if seed_ids is not None:
            group = int(seed_ids[number])
        else:  # a new row when the last one is full
            last = next(reversed(rows), number)
            group = last if len(rows.get(last, ())) < most else number
        if group not in rows and len(rows) < num_rows:
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

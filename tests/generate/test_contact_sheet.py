"""The contact sheet of a set."""

import numpy as np
from PIL import Image

from dreamda_jax.data.sets.records import encode_image
from dreamda_jax.generate.contact_sheet import ContactSheet


def flat(value):
    return np.tile(np.array([value, 0, 255], np.uint8), (32, 32, 1))


def png(value):
    return encode_image(flat(value), image_format="png", quality=95)


def test_contact_sheet_shows_the_lowest_seed_of_each_class(tmp_path):
    sheet = ContactSheet(("a very long class name that does not fit", "b"))
    sheet.save(tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
    sheet.add(1, 9, flat(10), [png(100)])
    assert sheet.wants(1, 3)
    assert not sheet.wants(1, 12)
    sheet.add(1, 3, flat(20), [png(200), png(210)])
    sheet.add(0, 5, flat(30), [png(50)])
    sheet.save(tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as image:
        colours = {colour for _, colour in image.getcolors(1 << 20)}
    assert {(v, 0, 255) for v in (20, 200, 210, 30, 50)} <= colours
    assert not {(10, 0, 255), (100, 0, 255)} & colours
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]

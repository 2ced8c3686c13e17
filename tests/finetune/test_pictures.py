"""The sheet of fine-tuning: every picture in its cell, its prompt below, nothing beside."""

import numpy as np
import pytest
from PIL import Image

from dreamda_jax.data.drawing import PAPER
from dreamda_jax.finetune.pictures import sample_sheet

CELL, GAP, TEXT = 160, 6, 20


def make(path, pictures, prompts):
    sample_sheet(pictures, prompts, path)
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def cell(sheet, place, columns):
    """(the picture's square, the strip below it)."""
    top = GAP + place // columns * (CELL + TEXT + GAP)
    left = GAP + place % columns * (CELL + GAP)
    square = sheet[top : top + CELL, left : left + CELL]
    return square, sheet[top + CELL : top + CELL + TEXT, left : left + CELL]


def random_pictures(count, side=8):
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (8, 8, 1), (11, 8, 2)])
def test_every_picture_is_in_its_place(tmp_path, count, columns, rows):
    pictures = random_pictures(count)
    sheet = make(tmp_path / "sheet.png", pictures, [f"prompt {i}" for i in range(count)])
    assert sheet.shape == (rows * (CELL + TEXT + GAP) + GAP, columns * (CELL + GAP) + GAP, 3)
    for place, pixels in enumerate(pictures):
        square, below = cell(sheet, place, columns)
        # Small ones are enlarged by whole pixels, so nothing is lost.
        np.testing.assert_array_equal(square, pixels.repeat(20, axis=0).repeat(20, axis=1))
        assert (below != PAPER).any()
    for place in range(count, rows * columns):
        for part in cell(sheet, place, columns):
            assert (part == PAPER).all()


def test_large_pictures_are_made_smaller(tmp_path):
    ramp = np.linspace(0, 255, 512).astype(np.uint8)
    pixels = np.stack(np.broadcast_arrays(ramp[:, None], ramp, np.uint8(128)), axis=-1)
    square, _ = cell(make(tmp_path / "sheet.png", pixels[None], ["a ramp"]), 0, 1)
    place = ((np.arange(CELL) + 0.5) * 512 / CELL).astype(int)
    # A ramp is one at every size, within its own steps and a filter's edges.
    assert np.abs(square.astype(int) - pixels[place][:, place]).max() <= 3


def test_a_long_prompt_stays_below_its_own_picture(tmp_path):
    grey = np.full((3, 8, 8, 3), 128, np.uint8)
    sheet = make(tmp_path / "sheet.png", grey, ["", "a very long prompt " * 20, ""])
    for place in (0, 2):
        assert (cell(sheet, place, 3)[1] == PAPER).all()
    assert (cell(sheet, 1, 3)[1] != PAPER).any()
    gaps = [sheet[:, x : x + GAP] for x in range(0, sheet.shape[1], CELL + GAP)]
    assert len(gaps) == 4
    assert all((gap == PAPER).all() for gap in gaps)


def test_prompts_of_every_script_are_drawn(tmp_path):
    pictures = random_pictures(3)
    sheet = make(tmp_path / "sheet.png", pictures, ["café", "<Bag> <Bag>_1", "猫の写真\n"])
    for place in range(3):
        assert (cell(sheet, place, 3)[1] != PAPER).any()


def test_an_older_sheet_is_replaced_and_directories_are_made(tmp_path):
    path = tmp_path / "new" / "samples" / "sheet.png"
    first = make(path, random_pictures(2), ["a", "b"])
    again = make(path, random_pictures(2)[::-1].copy(), ["b", "a"])
    np.testing.assert_array_equal(cell(again, 0, 2)[0], cell(first, 1, 2)[0])
    assert list(path.parent.iterdir()) == [path]


def test_each_picture_has_a_prompt(tmp_path):
    with pytest.raises(ValueError, match="shorter"):
        sample_sheet(random_pictures(2), ["only one"], tmp_path / "sheet.png")
    assert not (tmp_path / "sheet.png").exists()

"""Tables as other systems write them."""

import numpy as np
import pytest
from PIL import Image

from dreamda_jax.data.content import read_content
from dreamda_jax.data.loader import load_seeds
from dreamda_jax.data.sources.folder import open_folder
from dreamda_jax.data.sources.open import open_source
from dreamda_jax.data.sources.overview import overview
from dreamda_jax.data.sources.unlabelled import open_unlabelled
from dreamda_jax.errors import UserError
from tests.data.sources.test_folder import assert_refused, listing, put

FILES = ("cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png")
EXPECTED = [(file, file[:3]) for file in FILES]


def table(root, *rows, header="file_name,label", encoding="utf-8", end="\n"):
    put(root, *FILES)
    (root / "metadata.csv").write_bytes(end.join([header, *rows, ""]).encode(encoding))
    return root


def rows(change=lambda file: file, label=lambda name: name):
    return [f"{change(file)},{label(file[:3])}" for file in FILES]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_and_ends_of_lines(tmp_path, encoding, end):
    root = table(tmp_path, *rows(), encoding=encoding, end=end)
    assert listing(open_folder(root)) == EXPECTED


def test_a_code_page_is_refused_with_the_line(tmp_path):
    root = table(tmp_path, "cat/0.png,Katze", "dog/0.png,Hündin", encoding="cp1252")
    assert_refused("line 3: not UTF-8", path=root)
    root = table(tmp_path, *rows(), encoding="utf-16-le")  # without the mark
    assert_refused("NUL characters", path=root)


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.replace("cat/", "Cat/").replace(".png", ".PNG"),
        lambda file: f"{file} ",
        lambda file: file.replace("/", "\\").upper(),
        lambda file: f"./{file}",
    ],
    ids=["case", "white space", "backslashes and case", "dot"],
)
def test_names_that_one_file_alone_can_mean(tmp_path, change):
    assert listing(open_folder(table(tmp_path, *rows(change)))) == EXPECTED


def test_names_that_two_files_could_mean_are_missing(tmp_path):
    put(tmp_path, "CAT/0.png")
    root = table(tmp_path, "Cat/0.png,cat", "dog/0.png,dog")
    source = open_folder(root)
    assert source.missing == ("Cat/0.png",)
    exact = table(tmp_path, "CAT/0.png,cat", "dog/0.png,dog")
    assert listing(open_folder(exact)) == [("CAT/0.png", "cat"), ("dog/0.png", "dog")]


def test_names_without_suffix_are_told_so(tmp_path):
    put(tmp_path, "0.jpg", "1.jpg")
    (tmp_path / "metadata.csv").write_text("file_name,label\n0,cat\n1,dog\n")
    assert_refused("none is there", "'0.jpg' is there: names need their suffix", path=tmp_path)


def test_what_is_listed_and_not_there_is_said_at_the_start(tmp_path):
    root = table(tmp_path, "cat/0.png,cat", "cat/7.png,cat", "dog/0.png,dog", "dog/8.png,dog")
    said = "\n".join(overview(open_folder(root), label_width=9))
    assert "2 of the 4 images that are listed are not there: 'cat/7.png', 'dog/8.png'" in said
    assert "2 images without a label" in said


def test_numbers_as_pandas_writes_them_beside_plain_ones(tmp_path):
    mixed = ["cat/0.png,1", "cat/1.png,1.0", "dog/0.png,2", "dog/1.png,2.00"]
    source = open_folder(table(tmp_path, *mixed))
    assert source.label_names == ("1", "2")
    assert source.labels == (0, 0, 1, 1)
    floats = open_folder(
        table(tmp_path, *rows(label=lambda name: "0.0" if name == "cat" else "1.0"))
    )
    assert floats.label_names == ("0.0", "1.0")  # as they are written in every row


def test_white_of_a_whole_set(tmp_path):
    ramp = np.linspace(0, 4095, 64).reshape(8, 8).astype(np.uint16)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        Image.fromarray(ramp).save(tmp_path / name / "0.png")
    dark, right = (open_source(kind="folder", path=tmp_path, grey_max=top) for top in (None, 4095))
    seeds = {}
    for source in (dark, right):
        seeds[source] = list(load_seeds(source, [0, 1], resolution=8, crop="center"))
    assert [seed.pixels.max() for seed in seeds[dark]] == [16, 16]
    assert [seed.narrow for seed in seeds[dark]] == [True, True]
    assert [seed.pixels.max() for seed in seeds[right]] == [255, 255]
    assert [seed.narrow for seed in seeds[right]] == [False, False]
    # What was computed of the dark ones is not taken for what the bright ones would give.
    assert read_content(dark).digest != read_content(right).digest
    assert read_content(dark).digests == read_content(right).digests
    unlabelled = open_unlabelled(
        ("cat", "dog"), kind="folder", path=tmp_path, grey_max=4095, classes="sub_folders"
    )
    assert unlabelled[0].grey_max == 4095


@pytest.mark.parametrize("value", [0, -1, True, "4095", float("inf"), float("nan")])
def test_white_that_is_none(tmp_path, value):
    put(tmp_path, *FILES)
    with pytest.raises(UserError, match="grey_max"):
        open_source(kind="folder", path=tmp_path, grey_max=value)

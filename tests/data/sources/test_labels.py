import unicodedata

import pytest

from dreamda_jax.data.sources.labels import check_label_names, slug, spoken_name
from dreamda_jax.errors import UserError


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ankle boot", "ankle_boot"),
        ("t-shirt", "t-shirt"),
        ("Ram C/V Cargo Van Minivan 2012", "Ram_C_V_Cargo_Van_Minivan_2012"),
        ("../../etc/passwd", "etc_passwd"),
        (".hidden", "hidden"),
        ("a\\b:c*d?e", "a_b_c_d_e"),
        ("Käse", "Käse"),
        (unicodedata.normalize("NFD", "Käse"), "Käse"),
        ("猫", "猫"),
        ("हिन्दी", "हिन्दी"),
        ("ＡＢＣ", "ABC"),
        ("x" + chr(0x202E) + "gpj", "x_gpj"),  # a bidi override
        ("trailing. ", "trailing"),
        ("-rf", "rf"),
        ("con", "con_"),
        ("COM1", "COM1_"),
        ("LPT¹", "LPT1_"),
        ("console", "console"),
        ("a\n\tb\0c", "a_b_c"),
    ],
)
def test_slug(name, expected):
    assert slug(name) == expected


@pytest.mark.parametrize("name", ["", ".", "..", "/", "///", " ", "_", "!!!", "🐈", "\ud800"])
def test_slug_is_never_empty(name):
    result = slug(name)
    assert result
    assert result.isascii()
    assert result.isalnum()
    assert result == slug(name)


@pytest.mark.parametrize("letter", ["a", "é", "猫", "𝒳"])
def test_slug_is_bounded_and_long_names_stay_apart(letter):
    first, second = slug(letter * 500 + "1"), slug(letter * 500 + "2")
    assert first != second
    assert len(first) <= 64
    assert len(first.encode()) <= 180


@pytest.mark.parametrize("name", ["ankle boot", "con", "", "../x", "猫" * 100, "a" * 100])
def test_slug_of_a_slug_is_itself(name):
    assert slug(slug(name)) == slug(name)


def test_label_names_that_are_fine():
    check_label_names(["cat", "dog", "t-shirt", "猫", "!!!", "???"])


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["cat", "cat"], ["'cat'", "twice"]),
        (["ankle boot", "dog", "ankle_boot"], ["'ankle boot'", "'ankle_boot'", "collide"]),
        (["Cat", "cat"], ["'Cat'", "'cat'", "case"]),
        (["a/b", "a b"], ["'a/b'", "'a b'"]),
        (["STRASSE", "straße"], ["'STRASSE'", "'straße'"]),
        (["C", "C++"], ["'C'", "'C++'"]),
        (["cat", " "], ["empty"]),
        ([], ["no class name"]),
    ],
)
def test_label_names_that_collide(names, words):
    with pytest.raises(UserError) as error:
        check_label_names(names)
    assert all(word in str(error.value) for word in words), error.value


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ankle_boot", "ankle boot"),
        ("ankle boot", "ankle boot"),
        ("t-shirt", "t-shirt"),
        ("Egyptian_Mau", "Egyptian Mau"),
        ("wild_cat", "wild cat"),
        ("001.Black_footed_Albatross", "Black footed Albatross"),
        ("001.ak47", "ak47"),
        ("n02085620-Chihuahua", "Chihuahua"),
        ("n02085620-Japanese_spaniel", "Japanese spaniel"),
        ("/a/apartment_building/outdoor", "apartment building outdoor"),
        ("AnnualCrop", "Annual Crop"),
        ("McDonald", "McDonald"),
        ("BMW", "BMW"),
        ("Ram C/V Cargo Van Minivan 2012", "Ram C/V Cargo Van Minivan 2012"),
        ("2_wheeler", "2 wheeler"),
        ("1.5_volt_cell", "1.5 volt cell"),
        ("7", "7"),
        ("007", "007"),
        ("  spaced   out ", "spaced out"),
        ("___", "___"),
        ("猫", "猫"),
    ],
)
def test_spoken_name(name, expected):
    assert spoken_name(name) == expected

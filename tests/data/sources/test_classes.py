import pickle
import unicodedata

import numpy as np
import pytest

from dreamda_jax.data.sources import Example, open_source
from dreamda_jax.data.sources.classes import (
    check_labels,
    checked_label,
    label_mapping,
    match_classes,
    same_classes,
    united,
)
from dreamda_jax.data.sources.folder import open_folder
from dreamda_jax.data.sources.synthetic_source import SyntheticSource
from dreamda_jax.errors import UserError
from tests.support.make_synthetic import NAMES, make_synthetic


class Listed:
    """A source of black images with given labels."""

    name = "listed"
    ignored = ("notes.txt",)

    def __init__(self, label_names, labels):
        self.label_names, self.labels = tuple(label_names), tuple(labels)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        pixels = np.zeros((4, 4, 3), np.uint8)
        return Example(index, f"image {index}", self.labels[index], pixels)

    def fingerprint(self):
        return "abc"


def test_the_same_names_in_the_same_order_are_the_source_itself(tmp_path):
    source = Listed(["a", "b"], [0, 1])
    assert match_classes(["a", "b"], source, what="x") is source
    # White space as TFDS stores it, and a name that macOS hands out decomposed.
    odd = Listed(["é  x", " b\n"], [0])
    assert match_classes([unicodedata.normalize("NFD", "é x"), "b"], odd, what="x") is odd
    make_synthetic(tmp_path)
    synthetic = SyntheticSource(tmp_path)
    assert synthetic.label_names != NAMES
    assert match_classes(NAMES, synthetic, what="x") is synthetic


def test_names_that_are_not_utf_8_match_what_tfds_stores_of_them(tmp_path):
    names = ("caf\udce9", "tea")
    make_synthetic(tmp_path, names=names, num_seeds=1)
    synthetic = SyntheticSource(tmp_path)
    assert synthetic.label_names == ("caf\\udce9", "tea")
    assert match_classes(names, synthetic, what="x") is synthetic


def test_another_order_and_fewer_classes_are_mapped_by_name():
    source = Listed(["c", " a"], [0, 1, 1, 0])
    mapped = match_classes(["a", "b", "c"], source, what="x")
    assert mapped.label_names == ("a", "b", "c")
    assert [mapped[i].label for i in range(len(mapped))] == [2, 0, 0, 2]
    assert (mapped.name, mapped.ignored, mapped[3].index) == ("listed", ("notes.txt",), 3)
    assert [pickle.loads(pickle.dumps(mapped))[i].label for i in range(4)] == [2, 0, 0, 2]
    assert match_classes(["a", "b", "c"], mapped, what="x") is mapped


def test_the_fingerprint_tells_the_mapping():
    source = Listed(["c", "a"], [0, 1])
    prints = {
        source.fingerprint(),
        match_classes(["a", "b", "c"], source, what="x").fingerprint(),
        match_classes(["a", "c", "b"], source, what="x").fingerprint(),
    }
    assert len(prints) == 3
    other = Listed(["c", "a"], [0, 1])
    other.fingerprint = lambda: "def"
    again = match_classes(["a", "b", "c"], other, what="x").fingerprint()
    assert again not in prints


def test_foreign_names_are_refused_whatever_their_number():
    source = Listed(["cat", "Dog", *(f"class {i}" for i in range(8))], [0])
    with pytest.raises(UserError) as caught:
        match_classes(["cat", "dog", "cow"], source, what="the synthetic set runs/x")
    assert "of the synthetic set runs/x" in str(caught.value)
    assert "(9 of 10): 'Dog', 'class 0', 'class 1' and 6 more" in str(caught.value)
    assert "(2 of 3): 'dog', 'cow'" in str(caught.value)
    with pytest.raises(UserError, match=r"\(1 of 2\): 'dog'.*\(0 of 1\): none"):
        match_classes(["cat"], Listed(["cat", "dog"], [0]), what="x")
    with pytest.raises(UserError, match="'dog'"):  # as many names, but not the same
        match_classes(["cat", "cow"], Listed(["cat", "dog"], [0]), what="x")


def test_same_classes():
    assert same_classes(["a b"], (" a  b",))
    assert not same_classes(["a", "b"], ["b", "a"])
    assert not same_classes(["a"], ["A"])
    assert not same_classes(["a"], ["a", "b"])


def test_check_labels(tmp_path):
    check_labels(open_source("sample"))
    check_labels(Listed(["a", "b"], [0, 1]))
    with pytest.raises(UserError, match="no images in listed"):
        check_labels(Listed(["a"], []))
    for label in (2, -1):
        bad = Listed(["a", "b"], [0, label])
        with pytest.raises(UserError, match=rf"image 1 of listed has the label {label}, .* 0\.\.1"):
            check_labels(bad)
        with pytest.raises(UserError, match=f"label {label},"):
            match_classes(["b", "a"], bad, what="x")[1]
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.png").touch()
    check_labels(open_folder(tmp_path))  # reads no image: this one is empty


def test_checked_label_is_a_plain_int():
    label = checked_label(Listed(["a", "b"], []), "x", np.int64(1))
    assert label == 1
    assert type(label) is int


def test_united_names_fit_every_set():
    first, second = ("cat", "dog"), ("emu", "dog ", "ant")
    names = united(first, second)
    assert names == ("cat", "dog", "emu", "ant")
    assert label_mapping(names, second, what="the second") == (2, 1, 3)
    assert united(first) == first

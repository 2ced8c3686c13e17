import pickle

import numpy as np
import pytest

from dreamda_jax.data.sources import open_source
from dreamda_jax.data.sources.classes import check_labels
from dreamda_jax.data.sources.folder import open_folder
from dreamda_jax.data.sources.subset import Subset
from dreamda_jax.data.training_stream import training_batches
from dreamda_jax.errors import UserError
from tests.support.make_synthetic import make_pixels, make_synthetic


@pytest.fixture(scope="module")
def whole():
    return open_source("sample")


def test_it_numbers_the_chosen_examples_anew(whole):
    some = Subset(whole, [150, 3, 3])
    assert len(some) == 3
    assert [some[i].index for i in range(3)] == [0, 1, 2]
    assert [some[i].name for i in range(3)] == [whole[i].name for i in (150, 3, 3)]
    assert [some[i].label for i in range(3)] == [7, 0, 0]
    np.testing.assert_array_equal(some[0].content, whole[150].content)
    assert (some.name, some.label_names) == (whole.name, whole.label_names)
    for outside in (3, -1):
        with pytest.raises(IndexError):
            some[outside]


def test_pseudo_labels_replace_the_labels(whole):
    some = Subset(whole, np.array([0, 199]), np.array([4, 5], np.int32))
    labels = [some[i].label for i in range(2)]
    assert labels == [4, 5]
    assert all(type(label) is int for label in labels)
    assert some.labels.tolist() == [4, 5]
    again = pickle.loads(pickle.dumps(some))
    assert [again[i].label for i in range(2)] == [4, 5]
    assert again.fingerprint() == some.fingerprint()


def test_labels_in_memory_stay_in_memory(whole, tmp_path):
    assert not hasattr(Subset(whole, [0]), "labels")  # SampleSource shows none
    for name in ("a/1.png", "b/2.png", "b/3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "notes.txt").touch()
    some = Subset(open_folder(tmp_path), [2, 0])
    assert some.labels.tolist() == [1, 0]
    assert some.ignored == ("notes.txt",)
    assert Subset(some, [1]).labels.tolist() == [0]
    assert Subset(some, [1])[0].name == "a/1.png"


def test_an_empty_subset_is_one(whole):
    none = Subset(whole, [], [])
    assert len(none) == len(none.labels) == 0
    with pytest.raises(UserError, match="no images in fashion20"):
        check_labels(none)


def test_the_fingerprint_tells_indices_order_and_labels(whole):
    subsets = [
        Subset(whole, [0, 1]),
        Subset(whole, [1, 0]),
        Subset(whole, [0]),
        Subset(whole, []),
        Subset(whole, [], []),
        Subset(whole, [0, 1], [0, 0]),
        Subset(whole, [0, 1], [0, 1]),
        Subset(open_source("sample", split="test"), [0, 1]),
    ]
    assert len({subset.fingerprint() for subset in subsets}) == len(subsets)
    same = Subset(whole, np.array([0, 1], np.uint8))
    assert same.fingerprint() == subsets[0].fingerprint()


@pytest.mark.parametrize(
    ("indices", "labels", "message"),
    [
        ([0, 200], None, "indices hold 200, outside of 0..199"),
        ([-1], None, "indices hold -1"),
        ([0.5], None, "float64"),
        ([True, False], None, "bool"),
        ([[0, 1]], None, r"\(1, 2\)"),
        ([0, 1], [0], "1 labels for 2 indices"),
        ([0], [10], "labels hold 10, outside of 0..9"),
        ([0], [-1], "labels hold -1"),
    ],
)
def test_what_cannot_be(whole, indices, labels, message):
    with pytest.raises(ValueError, match=message):
        Subset(whole, indices, labels)


def test_a_relabelled_synthetic_set_is_trained_on_with_its_new_labels(tmp_path):
    from dreamda_jax.data.sources.synthetic_source import SyntheticSource

    make_synthetic(tmp_path, num_seeds=4, num_variants=2, size=8)
    some = Subset(SyntheticSource(tmp_path), [1, 6], [2, 0])
    (batch,) = training_batches(
        None,
        some,
        synthetic_ratio=None,
        batch_size=2,
        seed=0,
        start_step=0,
        num_steps=1,
        resolution=8,
        crop="center",
    )
    assert batch.synthetic.all()
    expected = {0: (2, make_pixels(0, 1, 8)), 1: (0, make_pixels(3, 0, 8))}
    assert sorted(batch.index.tolist()) == [0, 1]
    for index, label, image in zip(batch.index, batch.labels, batch.images, strict=True):
        assert label == expected[index][0]
        np.testing.assert_array_equal(image, expected[index][1])

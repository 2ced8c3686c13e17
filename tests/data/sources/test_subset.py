"""Chosen examples of a source: numbered anew, labelled anew, drawn by class."""

import collections
import pickle

import numpy as np
import pytest

from dreamda_jax.data.sources import open_source
from dreamda_jax.data.sources.classes import check_labels
from dreamda_jax.data.sources.folder import open_folder
from dreamda_jax.data.sources.subset import Subset, check_two_per_class, class_counts, draw_labelled
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


class _WithoutLabelsInMemory:
    def __init__(self, whole):
        self.name, self.label_names = whole.name, whole.label_names
        self._whole = whole

    def __len__(self):
        return len(self._whole)

    def __getitem__(self, index):
        return self._whole[index]


def test_labels_in_memory_stay_in_memory(whole, tmp_path):
    assert Subset(whole, [0, 199]).labels.tolist() == [whole[0].label, whole[199].label]
    assert not hasattr(Subset(_WithoutLabelsInMemory(whole), [0]), "labels")
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


def names(source):
    return [source[i].name for i in range(len(source))]


def make_folder(root, **counts):
    """Class folders of empty files: whoever decoded one of them would fail."""
    for name, count in counts.items():
        (root / name).mkdir()
        for i in range(count):
            (root / name / f"{i}.png").touch()
    return open_folder(root)


def test_as_many_of_each_class_without_repetition(whole):
    order = names(whole)
    for num_labels in (10, 40, 200):
        drawn = draw_labelled(whole, num_labels, seed=0)
        chosen = names(drawn)
        assert len(set(chosen)) == len(drawn) == num_labels
        assert class_counts(drawn).tolist() == [num_labels // 10] * 10
        assert [name for name in order if name in chosen] == chosen


def test_the_seed_decides_and_nothing_else(whole):
    drawn = [draw_labelled(whole, 40, seed=seed).fingerprint() for seed in (0, 1, 2, 0)]
    assert drawn[0] == drawn[3]
    assert len(set(drawn)) == 3


def test_the_draw_never_changes(tmp_path):
    # Pinned: a published result names its labelled images by their seed alone.
    drawn = draw_labelled(make_folder(tmp_path, a=6, b=5), 4, seed=0)
    assert names(drawn) == ["a/2.png", "a/3.png", "b/1.png", "b/4.png"]


def test_every_image_is_drawn_as_often(whole):
    labels = [whole[i].label for i in range(200)]
    in_memory = Subset(whole, range(200), labels)
    drawn = [names(draw_labelled(in_memory, 40, seed=seed)) for seed in range(200)]
    hits = collections.Counter(name for draw in drawn for name in draw)
    # Binomial with n=200, p=0.2: mean 40, standard deviation 5.7; five of them for 200 images.
    assert len(hits) == 200
    assert max(abs(count - 40) for count in hits.values()) < 28


def test_labels_in_memory_and_labels_read_one_by_one_give_the_same_draw(tmp_path):
    folder = make_folder(tmp_path, a=3, b=9, c=4)

    class Slow:
        """The same set, which shows its labels only example by example."""

        name, label_names = folder.name, folder.label_names
        __len__ = staticmethod(folder.__len__)
        __getitem__ = staticmethod(folder.__getitem__)
        fingerprint = staticmethod(folder.fingerprint)

    assert not hasattr(Slow(), "labels")
    assert class_counts(Slow()).tolist() == class_counts(folder).tolist() == [3, 9, 4]
    assert names(draw_labelled(Slow(), 6, seed=5)) == names(draw_labelled(folder, 6, seed=5))


@pytest.mark.parametrize(("num_labels", "instead"), [(44, "40"), (3, "10"), (0, "10"), (-10, "10")])
def test_numbers_that_cannot_be_shared(whole, num_labels, instead):
    with pytest.raises(UserError, match=f"num_labels is {num_labels}, .*such as {instead}"):
        draw_labelled(whole, num_labels, seed=0)


def test_classes_with_too_few_are_named_with_their_counts(whole, tmp_path):
    with pytest.raises(UserError, match=r"21 images of each class.*'t-shirt' \(20\), 'trousers'"):
        draw_labelled(whole, 210, seed=0)
    folder = make_folder(tmp_path, cat=2, dog=4, owl=3)
    assert len(draw_labelled(folder, 6, seed=0)) == 6
    with pytest.raises(UserError, match=r"fewer of: 'cat' \(2\), 'owl' \(3\)\. Lower"):
        draw_labelled(folder, 12, seed=0)


def test_two_of_each_class(whole, tmp_path):
    check_two_per_class(whole)
    check_two_per_class(draw_labelled(whole, 20, seed=0))
    with pytest.raises(UserError, match=r"'t-shirt' \(1\).*'ankle boot' \(1\)\. Add images"):
        check_two_per_class(draw_labelled(whole, 10, seed=0))
    folder = make_folder(tmp_path, cat=2, dog=1, owl=3)
    with pytest.raises(UserError, match=r"fewer of: 'dog' \(1\)\."):
        check_two_per_class(folder)
    with pytest.raises(UserError, match=r"'cat' \(0\), 'dog' \(0\), 'owl' \(0\)\."):
        check_two_per_class(Subset(folder, []))


def test_many_scarce_classes_are_not_all_listed(tmp_path):
    folder = make_folder(tmp_path, **{f"c{i:02}": 1 for i in range(13)})
    with pytest.raises(UserError, match=r"'c09' \(1\) and 3 more\."):
        check_two_per_class(folder)


def test_a_label_that_names_no_class(tmp_path):
    folder = make_folder(tmp_path, a=2, b=2)
    object.__setattr__(folder, "labels", (0, 0, 1, 2))
    with pytest.raises(UserError, match=r"b/1\.png .* has the label 2"):
        class_counts(folder)

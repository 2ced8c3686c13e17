"""Pictures of a classifier: written whole, with every class named and no two names overlapping."""

import itertools
import warnings

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from dreamda_jax.train import plots

FASHION = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag")


def confusion_of(num_classes, seed=0):
    counts = np.random.default_rng(seed).integers(0, 3, (num_classes, num_classes))
    return counts + 40 * np.eye(num_classes, dtype=int)


@pytest.fixture
def laid_out(monkeypatch):
    """The figures that would have been saved; drawing hundreds of names takes seconds."""
    figures = []

    def keep(figure, path):
        FigureCanvasAgg(figure)  # else every label draws on a canvas of its own
        figures.append(figure)

    monkeypatch.setattr(plots, "save_figure", keep)
    return figures


def texts(labels):
    return [label.get_text() for label in labels]


def overlaps(labels):
    boxes = [label.get_window_extent() for label in labels]
    return sum(a.overlaps(b) for a, b in itertools.pairwise(boxes))


def test_confusion_with_counts(tmp_path, drawn):
    counts = np.array([[8, 2, 0], [1, 3, 0], [0, 0, 0]])
    plots.confusion_picture(counts, FASHION[:3], tmp_path / "a.png")
    axes = drawn[0].axes[0]
    assert sorted(texts(axes.texts)) == ["1", "2", "3", "8"]
    assert texts(axes.get_yticklabels()) == texts(axes.get_xticklabels()) == list(FASHION[:3])
    shares = axes.images[0].get_array()
    np.testing.assert_allclose(shares[:2], [[0.8, 0.2, 0], [0.25, 0.75, 0]])
    assert np.ma.getmaskarray(shares)[2].all()  # no image of this class
    assert axes.get_title() == "14 images, 78.57% correct"
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.format == "PNG"
        assert {(230, 230, 230), (8, 48, 107)} & {pixel[:3] for pixel in picture.getdata()}


@pytest.mark.parametrize(("num_classes", "named"), [(10, 10), (120, 120), (300, 100)])
def test_names_do_not_overlap(tmp_path, laid_out, num_classes, named):
    names = [f"a long name of a class, as cars have, {i:03}" for i in range(num_classes)]
    plots.confusion_picture(confusion_of(num_classes), names, tmp_path / "a.png")
    axes = laid_out[0].axes[0]
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert len(labels) == named
        assert len(set(texts(labels))) == named  # cut, but still told apart
        assert labels[0].get_fontsize() >= 5.5
        assert overlaps(labels) == 0
    assert bool(axes.texts) == (num_classes <= 20)


def test_class_bars_are_sorted_and_the_mean_is_marked(tmp_path, drawn):
    counts = np.array([[5, 5, 0], [0, 0, 0], [0, 1, 9]])
    plots.per_class_picture(counts, ("half", "none", "nine"), tmp_path / "a.png")
    (axes,) = drawn[0].axes
    assert texts(axes.get_yticklabels()) == ["nine", "half", "none"]
    assert [bar.get_width() for bar in axes.patches] == [0.9, 0.5, 0.0]
    assert texts(axes.texts) == ["90.0% of 10", "50.0% of 10", "no images"]
    assert axes.lines[0].get_xdata()[0] == pytest.approx(0.7)
    assert "70.00%" in axes.get_title()
    top, bottom = (axes.get_yticklabels()[i].get_window_extent().y0 for i in (0, 2))
    assert top > bottom


@pytest.mark.slow
def test_many_class_bars_do_not_overlap(tmp_path, laid_out):
    names = [f"class {i}" for i in range(140)]
    plots.per_class_picture(confusion_of(140), names, tmp_path / "a.png")
    (axes,) = laid_out[0].axes
    assert len(axes.get_yticklabels()) == len(axes.texts) == 140
    assert overlaps(axes.get_yticklabels()) == overlaps(axes.texts) == 0


def test_curves(tmp_path, drawn):
    log = [
        {"step": 10, "train/loss": 2.0, "learning_rate": 0.1},
        {"step": 20, "train/loss": float("nan"), "train/accuracy": 0.5},
        {"step": 20, "validation/accuracy": 0.4},
        {"step": 30, "train/loss": 1.0},
    ]
    plots.curves_picture(log, tmp_path / "a.png")
    loss, accuracy = drawn[0].axes
    assert [line.get_label() for line in loss.lines] == ["train"]
    assert loss.lines[0].get_xdata().tolist() == [10, 20, 30]
    assert [line.get_label() for line in accuracy.lines] == ["train", "validation"]
    assert accuracy.lines[1].get_ydata().tolist() == [0.4]
    assert (tmp_path / "a.png").exists()


def test_no_curves_no_picture(tmp_path):
    plots.curves_picture([{"step": 1, "learning_rate": 0.1}], tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_names_that_matplotlib_would_read_otherwise(tmp_path, drawn):
    names = ["$a$ and $b_", "日本", "50 % \\frac"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots.confusion_picture(confusion_of(3), names, tmp_path / "a.png")
    labels = drawn[0].axes[0].get_yticklabels()
    assert [label._preprocess_math(label.get_text()) for label in labels] == [
        (name, False) for name in names
    ]


def test_empty_matrix_is_refused(tmp_path):
    with pytest.raises(ValueError, match="counts no example"):
        plots.confusion_picture(np.zeros((2, 2), int), ("a", "b"), tmp_path / "a.png")
    assert not list(tmp_path.iterdir())

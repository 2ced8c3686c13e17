"""The report page as a document: well formed, self-contained, harmless, with the right words."""

import copy
import itertools
import re
from html.parser import HTMLParser

import pytest

from dreamda_jax.evaluate.page.page import Gallery, GalleryRow, write_page
from tests.support import hostile_report, sample_report
from tests.support.hostile_report import HOSTILE, hostile

VOID = {"meta", "link", "img", "br", "input", "hr"}
SHAPES = {"line", "rect", "circle"}  # closed by a slash, in SVG


class Document(HTMLParser):
    """Reads a page and notes what is wrong with it."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.words = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert tag in SHAPES
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def read(path):
    return Document(path.read_text("utf-8"))


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    return sample_report.fashion(tmp_path_factory.mktemp("given"))


@pytest.fixture(scope="module")
def fashion(given, tmp_path_factory):
    path = tmp_path_factory.mktemp("fashion") / "report.html"
    write_page(path, *given)
    return path


@pytest.fixture
def report(given):
    return copy.deepcopy(given[0])


def assert_sound(document):
    """What must hold of every page."""
    assert document.open == []
    assert document.all("html") == [{"lang": "en"}]
    for landmark in ("header", "main", "footer"):
        assert len(document.all(landmark)) == 1
    assert all("aria-label" in nav for nav in document.all("nav"))
    levels = [int(tag[1]) for tag, _ in document.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    ids = [attributes["id"] for _, attributes in document.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for link in document.all("a"):
        assert link["href"][0] == "#"
        assert link["href"][1:] in ids
    for _, attributes in document.elements:
        assert attributes.get("aria-labelledby", ids[0]) in ids
        assert not any(name.startswith("on") for name in attributes)
    for picture in document.all("img"):
        assert picture["alt"].strip()
        assert picture["src"].startswith("data:image/")
    assert len(document.all("script")) == 1
    assert not {"iframe", "object", "form", "base"} & {tag for tag, _ in document.elements}


def test_sound(fashion):
    assert_sound(read(fashion))


def test_nothing_comes_from_elsewhere(fashion):
    text = re.sub(r"data:image/[a-z]+;base64,[A-Za-z0-9+/=]+", "", fashion.read_text())
    assert not re.search(r"https?://|//[a-z]|@import|url\(", text)
    (policy,) = [m for m in read(fashion).all("meta") if "http-equiv" in m]
    assert policy["content"].startswith("default-src 'none'; img-src data:;")


def test_headline(fashion):
    text = read(fashion).text
    assert "800 synthetic images beside 200 real ones of 10 classes" in text
    assert "41.2 95% interval 39.6 to 43.1; 28.4 for real images in their place" in text
    assert "Copies of training images 12 flagged of 800 compared" in text
    assert "Leaks of test images 1 flagged of 800 compared" in text
    assert "+2.7 points 75.9% with fashion_amst, 73.2% with fashion_real" in text


def test_a_classifier_that_predicts_one_class_only_is_in_the_headline(report, given, tmp_path):
    report["accuracy"][1]["only_classes"] = ["bag"]
    report["accuracy"][3]["only_classes"] = ["<b>boot"]
    write_page(tmp_path / "report.html", report, *given[1:])
    document = read(tmp_path / "report.html")
    assert_sound(document)
    name, other = (report["accuracy"][place]["name"] for place in (1, 3))
    assert (
        f"{name} tells no classes apart 1 class one of its runs takes every test" in document.text
    )
    assert (
        f"{other} tells no classes apart 1 class it takes every test image for <b>" in document.text
    )


def test_sections_come_in_their_order(fashion):
    ids = [a["id"] for tag, a in read(fashion).elements if tag == "h2"]
    assert ids == [
        "warnings", "advice", "samples", "metrics", "classes", "accuracy", "labels", "copies",
        "cost", "settings",
    ]  # fmt: skip


def test_every_picture_is_there(fashion, given):
    pictures = read(fashion).all("img")
    assert len({picture["src"] for picture in pictures}) == len(set(given[1].values()))
    assert len(pictures) == 10 * 2 * 7 + 2 * (5 + 2) + 1


def test_tables(fashion):
    text = read(fashion).text
    assert "KID Cubic kernel; its mean does not depend on how many images. 0.0123 0.0098 to" in text
    assert "Vendi score not asked for – –" in text
    assert "a ratio of 0.427 . At 0" in text
    assert "Of 200 synthetic images 146 (73.0%) were accepted" in text
    assert "The best of the others, fashion_amst, is 2.7 points above the first" in text
    assert "noise_scale 3.0" in text
    assert "file –" in text
    assert "Time 3 min 34 s" in text
    assert "2 March 2026, 14:05 UTC" in text
    assert "9 more are listed in copies.jsonl." in text
    assert "None is" not in text


def test_code_in_advice(report, tmp_path):
    report["advice"] = ["Set `--a=<1>` & `--b`.", "An `odd one <b>"]
    write_page(tmp_path / "report.html", report | {"audit": None, "copies": NO_COPIES}, {}, [])
    html = (tmp_path / "report.html").read_text()
    assert "<li>Set <code>--a=&lt;1&gt;</code> &amp; <code>--b</code>.</li>" in html
    assert "<li>An `odd one &lt;b&gt;</li>" in html


NO_COPIES = {
    "training": {"compared": 800, "flagged": 0, "rule": "A rule.", "pairs": []},
    "test": None,
}


def test_what_is_not_there(report, tmp_path):
    report["sets"]["test"] = None
    report |= {
        "metrics": [], "per_class": [], "copies": NO_COPIES, "diversity": None, "accuracy": [],
        "audit": None, "cost": None, "advice": [], "warnings": [], "settings": {}, "versions": {},
    }  # fmt: skip
    write_page(tmp_path / "report.html", report, {}, [])
    document = read(tmp_path / "report.html")
    assert_sound(document)
    headings = [a["id"] for tag, a in document.elements if tag == "h2"]
    assert headings == ["advice", "metrics", "accuracy", "labels", "copies", "settings"]
    text = document.text
    assert "None of 800 synthetic images looks like a copy of a training image. A rule." in text
    assert "Leaks of test images – not looked for: no test set was given" in text
    assert "--config.evaluate.classifiers=" in text
    assert "--config.train.method=amst" in text
    assert "--config.test.split=" in text
    assert "Nothing in these numbers asks for a change." in text
    assert not document.all("img")


def test_numbers_that_are_missing(report, given, tmp_path):
    for metric in report["metrics"]:
        metric.update(value=None, low=None, high=None, baseline=None)
    for row in report["per_class"]:
        row.update(fid=None, diversity=float("nan"))
    for entry in report["accuracy"]:
        entry["per_class"][0]["accuracy"] = None
    report["cost"].update(tflop=None, tflop_per_image=None, seconds=None, devices=None)
    write_page(tmp_path / "report.html", report, *given[1:])
    document = read(tmp_path / "report.html")
    assert_sound(document)
    assert not re.search(r"\bnan\b|\bNone\b(?! of)|\binf\b", document.text)
    assert "Time – " in document.text


def test_hostile_names(given, tmp_path):
    write_page(tmp_path / "report.html", *hostile(given))
    document = read(tmp_path / "report.html")
    assert_sound(document)
    assert len(document.all("img")) == 20 * 7 + 2 * (5 + 2) + 1
    assert document.text.count("window.hacked = 1</script>") == document.text.count("window.hacked")
    assert document.text.count(HOSTILE) > 100


def test_names_that_a_terminal_or_a_reader_would_obey(given, tmp_path, monkeypatch):
    name = "\x1b[31m \x9b2J \u202eevil http://me:SECRET@host/x"
    monkeypatch.setattr(hostile_report, "HOSTILE", name)
    write_page(tmp_path / "report.html", *hostile(given))
    text = (tmp_path / "report.html").read_text("utf-8")
    assert text.count(r"\x1b[31m \x9b2J \u202eevil http://***@host/x") > 100
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)
    assert "SECRET" not in text


def test_names_that_are_not_utf8(report, given, tmp_path):
    galleries = [Gallery("caf\udce9", given[2][0].rows)]
    write_page(tmp_path / "report.html", report, given[1], galleries)
    assert "caf\\udce9" in read(tmp_path / "report.html").text


def test_without_seeds(report, given, tmp_path):
    rows = [GalleryRow("shirt", None, [*given[2][0].rows[0].variant_images, None])]
    write_page(tmp_path / "report.html", report, given[1], [Gallery("shirt", rows)])
    document = read(tmp_path / "report.html")
    assert "Synthetic images of each class." in document.text
    assert "no picture" in document.text
    assert not [a for _, a in document.elements if a.get("class") == "seed"]


def test_many_classes(tmp_path):
    report, images, galleries = sample_report.many_classes()
    write_page(tmp_path / "report.html", report, images, galleries)
    document = read(tmp_path / "report.html")
    assert_sound(document)
    folds = [a for a in document.all("details") if a.get("class") == "gallery"]
    assert ["open" in fold for fold in folds] == [True] * 12 + [False] * 188
    # Three tables of 200 classes, each in a box of its own height.
    assert len([a for a in document.all("div") if a.get("class") == "scroll tall"]) == 3
    size = (tmp_path / "report.html").stat().st_size
    uris = sum(len(picture["src"]) for picture in document.all("img"))
    assert size - uris < 200 * 5_000


def test_images_that_cannot_be_shown(report, given, tmp_path):
    path = tmp_path / "report.html"
    rows = [GalleryRow("seed", "lost", [])]
    with pytest.raises(ValueError, match="'lost' that it was not given"):
        write_page(path, report, given[1], [Gallery("bag", rows)])
    for content in (b"", b"GIF89a", b"<svg onload=alert(1)>"):
        with pytest.raises(ValueError, match="'lost' is neither PNG"):
            write_page(path, report, {**given[1], "lost": content}, [Gallery("bag", rows)])
    with pytest.raises(ValueError, match="format 1, not 2"):
        write_page(path, report | {"format": 2}, given[1], [])
    assert not path.exists()

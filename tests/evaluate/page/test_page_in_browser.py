"""The report page in a real browser: what it shows, what it asks for, how it answers."""

import os
import shutil
from pathlib import Path

import pytest

from dreamda_jax.evaluate.page.page import write_page
from tests.support import sample_report
from tests.support.hostile_report import hostile

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright: pip install -e '.[dev]'")

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_CHROMIUM = next(filter(None, map(shutil.which, _BROWSERS)), None)
pytestmark = pytest.mark.skipif(
    _CHROMIUM is None,
    reason="no Chromium: apt-get install --no-install-recommends chromium",
)

PAGES = ("fashion", "birds", "hostile", "empty")
NO_COPIES = {"compared": 0, "flagged": 0, "rule": "", "pairs": []}

# Of every element with text of its own: the contrast of its colour (WCAG 2.2, success criterion
# 1.4.3) against what is painted behind it, translucent layers and opacity counted in.
LOW_CONTRASTS = """
() => {
  const parse = (text) => {
    const numbers = text.match(/[\\d.]+/g).map(Number);
    if (!text.startsWith("rgb")) throw new Error(`cannot read the colour ${text}`);
    return [...numbers.slice(0, 3), numbers.length > 3 ? numbers[3] : 1];
  };
  const over = ([r, g, b, a], below) =>
    [r, g, b].map((value, place) => a * value + (1 - a) * below[place]);
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const chain = (element) => {
    const found = [];
    for (; element; element = element.parentElement) found.unshift(element);
    return found;
  };
  const behind = (element) => {
    const dark = getComputedStyle(document.documentElement).colorScheme;
    let below = dark === "dark" ? [0, 0, 0] : [255, 255, 255];
    for (const each of chain(element)) {
      below = over(parse(getComputedStyle(each).backgroundColor), below);
    }
    return below;
  };
  const opacity = (element) =>
    chain(element).reduce((share, each) => share * getComputedStyle(each).opacity, 1);
  const low = [];
  let checked = 0;
  for (const element of document.querySelectorAll("body *")) {
    const words = [...element.childNodes]
      .filter((node) => node.nodeType === Node.TEXT_NODE)
      .map((node) => node.data.trim()).join("");
    if (!words || !element.checkVisibility() || element.tagName === "SCRIPT") continue;
    const below = behind(element);
    const [r, g, b, a] = parse(getComputedStyle(element).color);
    const [x, y] = [over([r, g, b, a * opacity(element)], below), below].map(luminance);
    const contrast = (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
    checked += 1;
    if (contrast < 4.5) low.push(`${contrast.toFixed(2)} ${element.outerHTML.slice(0, 120)}`);
  }
  return { checked, low };
}
"""


def empty(given):
    """A report of nothing but the two sets."""
    report = given[0] | {
        "metrics": [], "per_class": [], "diversity": None, "accuracy": [], "audit": None,
        "cost": None, "advice": [], "warnings": [], "settings": {},
        "copies": {"training": NO_COPIES, "test": None},
    }  # fmt: skip
    return report, {}, []


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    directory = tmp_path_factory.mktemp("pages")
    given = sample_report.fashion(directory)
    content = {
        "fashion": given,
        "birds": sample_report.many_classes(),
        "hostile": hostile(given),
        "empty": empty(given),
    }
    for name in PAGES:
        write_page(directory / f"{name}.html", *content[name])
    return {name: directory / f"{name}.html" for name in PAGES}


@pytest.fixture(scope="module")
def browser():
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []  # root cannot have the sandbox
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=arguments)
        yield browser
        browser.close()


class Tab:
    """An opened page, and what it said and asked for."""

    def __init__(self, browser, path: Path, **options):
        self.said, self.asked = [], []
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: self.said.append(dialog.message))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())
        self.uri = path.as_uri()

    def unfold(self):
        self.page.evaluate("for (const fold of document.querySelectorAll('details')) fold.open = 1")

    def assert_quiet(self):
        assert self.said == []
        assert [url for url in self.asked if not url.startswith("data:")] == [self.uri]


@pytest.fixture
def open_tab(browser, paths):
    tabs = []

    def open_tab(name, **options):
        tabs.append(Tab(browser, paths[name], **options))
        return tabs[-1]

    yield open_tab
    for tab in tabs:
        tab.context.close()


@pytest.mark.parametrize("name", PAGES)
def test_pictures_load_and_nothing_is_said_or_asked(open_tab, name):
    tab = open_tab(name)
    tab.unfold()
    widths = tab.page.evaluate("[...document.images].map((image) => image.naturalWidth)")
    assert len(widths) == {"fashion": 155, "birds": 1014, "hostile": 155, "empty": 0}[name] + 1
    # The last is the enlarged picture, which has none yet.
    assert all(width > 0 for width in widths[:-1])
    assert tab.page.evaluate("window.hacked") is None
    tab.assert_quiet()


@pytest.mark.parametrize("name", ["fashion", "empty", "birds"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(open_tab, name, scheme):
    tab = open_tab(name, color_scheme=scheme)
    tab.unfold()
    if name == "fashion":
        tab.page.locator("button.open").first.click()  # the dialog's words too
    found = tab.page.evaluate(LOW_CONTRASTS)
    assert found["low"] == []
    assert found["checked"] > {"fashion": 300, "birds": 3000, "empty": 25}[name]


def test_the_check_of_contrast_finds_pale_words(open_tab):
    tab = open_tab("empty", color_scheme="light")
    for style in ("color: #999", "opacity: 0.4", "background: #333"):
        tab.page.evaluate(f"document.querySelector('h1').style = '{style}'")
        (low,) = tab.page.evaluate(LOW_CONTRASTS)["low"]
        assert "<h1" in low


@pytest.mark.parametrize("name", PAGES)
def test_no_sideways_scrolling(open_tab, name):
    tab = open_tab(name)
    tab.unfold()
    for width in (360, 768, 1280):
        tab.page.set_viewport_size({"width": width, "height": 800})
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
    for root in ("html", "body"):  # what is too wide is not merely cut off
        overflow = f"getComputedStyle(document.querySelector('{root}')).overflowX"
        assert tab.page.evaluate(overflow) == "visible"


def test_scheme_follows_the_system_and_the_button(open_tab):
    tab = open_tab("empty", color_scheme="light")
    background = "getComputedStyle(document.body).backgroundColor"
    light = tab.page.evaluate(background)
    tab.page.emulate_media(color_scheme="dark")
    dark = tab.page.evaluate(background)
    assert dark != light
    button = tab.page.get_by_role("button", name="Light")
    button.click()
    assert tab.page.evaluate(background) == light
    assert tab.page.get_by_role("button", name="Dark").count() == 1
    tab.page.reload()  # the choice lasts
    assert tab.page.evaluate(background) == light
    tab.page.emulate_media(color_scheme="dark", media="print")
    tab.page.get_by_role("button").count()
    assert tab.page.evaluate(background) == light
    assert tab.said == []


def test_enlarging(open_tab):
    tab = open_tab("fashion")
    page, viewer = tab.page, tab.page.locator("dialog")
    large, caption = viewer.locator("img"), viewer.locator("p")
    second = page.locator("button.open").nth(1)
    assert not viewer.is_visible()
    second.click()
    assert viewer.is_visible()
    assert large.get_attribute("src") == second.locator("img").get_attribute("src")
    assert large.evaluate("(image) => image.naturalWidth > 0 && image.width > 300")
    assert caption.inner_text().endswith("(2 of 140)")
    page.keyboard.press("ArrowRight")
    assert caption.inner_text().endswith("(3 of 140)")
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    assert caption.inner_text().endswith("(140 of 140)")  # round the corner
    page.keyboard.press("Escape")
    assert not viewer.is_visible()
    assert second.evaluate("(button) => button === document.activeElement")
    page.keyboard.press("Enter")
    assert caption.inner_text().endswith("(2 of 140)")
    viewer.get_by_role("button", name="Close").click()
    assert not viewer.is_visible()
    # Pairs are gone through by themselves, a synthetic image and its original side by side.
    page.locator(".pair button.open").first.click()
    assert caption.inner_text().endswith("(1 of 14)")
    tab.assert_quiet()


def test_sorting(open_tab):
    tab = open_tab("fashion")
    table = tab.page.locator("table.sortable").first
    fids = "(table) => [...table.tBodies[0].rows].map((row) => Number(row.cells[3].dataset.value))"
    falling = table.evaluate(fids)
    assert falling == sorted(falling, reverse=True)
    head = table.get_by_role("button", name="FID")
    head.click()
    assert table.evaluate(fids) == falling
    head.click()
    assert table.evaluate(fids) == falling[::-1]
    assert table.locator("th[aria-sort]").get_attribute("aria-sort") == "ascending"
    table.get_by_role("button", name="Class").click()
    names = table.locator("tbody th").all_inner_texts()
    assert names == sorted(names)


def test_focus_is_visible(open_tab):
    page = open_tab("fashion").page
    outline = """() => {
      const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
      return [document.activeElement.tagName, outlineStyle, parseFloat(outlineWidth)];
    }"""
    seen = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        tag, style, width = page.evaluate(outline)
        seen.add(tag)
        assert (style, width) == ("solid", 3), tag
    assert {"A", "BUTTON", "SUMMARY"} <= seen


@pytest.mark.parametrize("scripts", [True, False])
def test_a_link_unfolds_its_class(open_tab, scripts):
    page = open_tab("birds", java_script_enabled=scripts).page
    sheet = page.locator("#class-150 img").first
    assert not sheet.is_visible()
    page.locator("nav.chips a").nth(149).click()
    assert sheet.is_visible()


def test_without_scripts(open_tab):
    tab = open_tab("fashion", java_script_enabled=False)
    page = tab.page
    assert page.locator("img.picture:visible").count() == 140 + 8 + 1
    assert page.locator("#scheme").is_hidden()
    assert page.locator(".scripted:visible").count() == 0
    assert page.locator("button:visible").count() == 0
    page.locator("details", has_text="synthesis").locator("summary").last.click()
    assert page.get_by_text("num_variants", exact=True).is_visible()
    tab.assert_quiet()


def test_printing(open_tab):
    page = open_tab("fashion").page
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.emulate_media(media="print")
    assert page.locator("nav").first.is_hidden()
    page.set_viewport_size({"width": 700, "height": 1000})  # A4 in CSS pixels, margins taken off
    assert page.evaluate("document.documentElement.scrollWidth") <= 700
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details:not([open])").count() == 7

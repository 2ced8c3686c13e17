"""The example in docs/api.md runs as it stands; pages name what exists; the citation is right."""

import importlib.util
import re
import tomllib

import pytest
import yaml
from PIL import Image

import dreamda_jax
from tests.support.paths import ROOT


def test_api_example(micro_checkpoint, tmp_path, monkeypatch, capsys):
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/api.md").read_text(), re.S)
    for there, here in [
        ('from_pretrained("sample")', f"from_pretrained({str(micro_checkpoint)!r})"),
        ("resolution=32", "resolution=8"),
        ("num_inference_steps=25", "num_inference_steps=5"),
    ]:
        assert there in example
        example = example.replace(there, here)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "docs/api.md", "exec"), {})
    assert "(3, 4, 8, 8, 3)" in capsys.readouterr().out
    with Image.open("variant.png") as image:
        assert image.size == (8, 8)


PAGES = sorted(
    path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"))
)


@pytest.mark.parametrize("page", PAGES)
def test_pages_name_what_exists(page):
    text = (ROOT / page).read_text()
    links = re.findall(r"\]\((?!http)([^)#\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    for target in links:
        assert ((ROOT / page).parent / target).exists(), target
    paths = r"(?<![\w/.])(?:configs|dreamda_jax|tests|benchmarks)/[\w/]+\.\w+\b"
    for file in re.findall(paths, text):
        assert (ROOT / file).exists() or "NAME" in file, file
    for module in re.findall(r"-m (dreamda_jax[\w.]*\w)", text):
        assert importlib.util.find_spec(module), module


def test_the_citation_is_of_this_version_and_of_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert citation["version"] == project["version"] == dreamda_jax.__version__
    assert citation["license"] == project["license"]
    assert citation["authors"] == project["authors"]
    paper = citation["preferred-citation"]
    assert paper["url"] == project["urls"]["Paper"]
    assert [person["family-names"] for person in paper["authors"]] == ["Fu", "Chen", "Qiao", "Yu"]

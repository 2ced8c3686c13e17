"""The example in docs/api.md runs as it stands, but for a smaller model."""

import re

from PIL import Image

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


def test_readme_names_what_exists():
    text = (ROOT / "README.md").read_text()
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", text) + re.findall(r'src="([^"]+)"', text):
        assert (ROOT / target).exists(), target
    for config in re.findall(r"configs/\w+\.py", text):
        assert (ROOT / config).exists(), config

import json

import pytest

from dreamda_jax.data.prompts import Prompts, fill_template, open_prompts
from dreamda_jax.errors import UserError

NAMES = ("ankle_boot", "bag")


def write(path, *entries):
    path.write_text("\n".join(json.dumps(entry) for entry in entries) + "\n")
    return str(path)


def test_template():
    choose = open_prompts(NAMES)
    assert choose(0, "a.png", None, 3) == "A photo of a ankle boot"
    assert open_prompts(NAMES, template="clothes")(1, "a.png", None, 0) == "clothes"


def test_captions_come_before_the_template():
    assert open_prompts(NAMES)(0, "a.png", "a red boot", 0) == "a red boot"


def test_file_per_image_and_per_class(tmp_path):
    file = write(
        tmp_path / "prompts.jsonl",
        {"class": "bag", "prompt": "a bag on a table"},
        {"class": "bag", "prompt": "a bag in the rain"},
        {"file_name": "b.png", "prompt": "this very bag"},
    )
    choose = open_prompts(NAMES, file=file)
    bags = [choose(1, "a.png", None, variant) for variant in range(3)]
    assert bags == ["a bag on a table", "a bag in the rain", "a bag on a table"]
    assert choose(1, "b.png", "a caption", 1) == "this very bag"
    assert choose(0, "c.png", None, 0) == "A photo of a ankle boot"


@pytest.mark.parametrize("template", ["a {klass}", "a {}", "a {class", "a {0}"])
def test_bad_templates(template):
    with pytest.raises(UserError, match=r"only placeholder is \{class\}"):
        open_prompts(NAMES, template=template)


@pytest.mark.parametrize("line", ["{", "[1]", '{"prompt": "x"}', '{"class": "bag"}', "3"])
def test_bad_lines(tmp_path, line):
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"class": "bag", "prompt": "x"}\n' + line)
    with pytest.raises(UserError, match="line 2"):
        open_prompts(NAMES, file=str(file))


def test_unknown_class_and_missing_file(tmp_path):
    file = write(tmp_path / "p.jsonl", {"class": "boot", "prompt": "x"})
    with pytest.raises(UserError, match="unknown class 'boot'"):
        open_prompts(NAMES, file=file)
    with pytest.raises(UserError, match="cannot be read"):
        open_prompts(NAMES, file=str(tmp_path / "absent.jsonl"))


def test_all_prompts_of_an_image(tmp_path):
    file = write(
        tmp_path / "prompts.jsonl",
        {"class": "bag", "prompt": "a bag on a table"},
        {"class": "bag", "prompt": "a bag in the rain"},
        {"file_name": "b.png", "prompt": "this very bag"},
        {"file_name": "b.png", "prompt": "the same bag"},
    )
    prompts = open_prompts(NAMES, file=file)
    assert prompts.of_image(1, "b.png", "a caption") == ["this very bag", "the same bag"]
    assert prompts.of_image(1, "a.png", "a caption") == ["a caption"]
    assert prompts.of_image(1, "a.png", None) == ["a bag on a table", "a bag in the rain"]
    assert prompts.of_image(0, "a.png", None) == ["A photo of a ankle boot"]
    assert prompts.of_image(0, "a.png", "") == [""]  # a caption that is empty is one


def test_a_variant_s_prompt_is_one_of_its_image_s_in_turn():
    prompts = Prompts(NAMES, ["boot", "bag"], {"b.png": ["x", "y"]}, {"bag": ["p", "q", "r"]})
    for label, name, text in [(0, "a.png", None), (1, "a.png", None), (1, "b.png", "caption")]:
        own = prompts.of_image(label, name, text)
        chosen = [prompts(label, name, text, variant) for variant in range(7)]
        assert chosen == [own[variant % len(own)] for variant in range(7)]


def test_words_fill_a_template_as_they_are():
    words = ["<Golden-Retriever> <Golden-Retriever>_1", "ankle_boot", "{class}"]
    filled = fill_template("a {class}, {class} on {{wood}}", words)
    assert filled == [f"a {word}, {word} on {{wood}}" for word in words]
    assert fill_template("clothes", words[:2]) == ["clothes", "clothes"]
    assert fill_template("a {class}", []) == []
    with pytest.raises(UserError, match=r"'a \{klass\}': the only placeholder is \{class\}"):
        fill_template("a {klass}", words)

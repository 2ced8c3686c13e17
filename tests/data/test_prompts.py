import json

import pytest

from dreamda_jax.data.prompts import Prompts, fill_template, open_prompts
from dreamda_jax.data.sources import Example
from dreamda_jax.errors import UserError

NAMES = ("ankle_boot", "bag")


def seed(label, name="a.png", text=None, index=0):
    return Example(index, name, label, b"", text)


def write(path, *entries):
    path.write_text("\n".join(json.dumps(entry) for entry in entries) + "\n")
    return str(path)


def test_template():
    choose = open_prompts(NAMES)
    assert choose(seed(0), 3) == "A photo of a ankle boot"
    assert open_prompts(NAMES, template="clothes")(seed(1), 0) == "clothes"


def test_captions_come_before_the_template():
    assert open_prompts(NAMES)(seed(0, text="a red boot"), 0) == "a red boot"


def test_file_per_image_and_per_class(tmp_path):
    file = write(
        tmp_path / "prompts.jsonl",
        {"class": "bag", "prompt": "a bag on a table"},
        {"class": "bag", "prompt": "a bag in the rain"},
        {"file_name": "b.png", "prompt": "this very bag"},
    )
    choose = open_prompts(NAMES, file=file)
    bags = [choose(seed(1), variant) for variant in range(4)]
    assert set(bags[:2]) == {"a bag on a table", "a bag in the rain"}
    assert bags[2:] == bags[:2]
    assert choose(seed(1, "b.png", "a caption"), 1) == "this very bag"
    assert choose(seed(0, "c.png"), 0) == "A photo of a ankle boot"


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
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(UserError, match="holds no prompt"):
        open_prompts(NAMES, file=str(tmp_path / "empty.jsonl"))
    with pytest.raises(UserError, match="cannot be read"):
        open_prompts(NAMES, file=str(tmp_path / "absent.jsonl"))


def test_what_a_file_gave_is_said(tmp_path):
    two = [{"class": name, "prompt": f"{name} {i}"} for name in NAMES for i in range(2)]
    everything = open_prompts(NAMES, file=write(tmp_path / "all.jsonl", *two))
    assert everything.about() == "4 for 2 of 2 classes"
    half = open_prompts(NAMES, file=write(tmp_path / "half.jsonl", *two[2:]))
    assert half.about() == "2 for 1 of 2 classes; the template's for ankle_boot"


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


def test_prompts_of_an_image_are_taken_in_turn():
    prompts = Prompts(NAMES, ["boot", "bag"], {"b.png": ["x", "y"]}, {"bag": ["p", "q", "r"]})
    for subject in (seed(0), seed(1, "b.png", "caption")):
        own = prompts.of_image(subject.label, subject.name, subject.text)
        chosen = [prompts(subject, variant) for variant in range(7)]
        assert chosen == [own[variant % len(own)] for variant in range(7)]


def test_prompts_of_a_class_are_drawn_for_each_image():
    given = [f"prompt {number}" for number in range(20)]
    prompts = Prompts(NAMES, ["boot", "bag"], {}, {"bag": given}, draw_seed=3)
    drawn = [[prompts(seed(1, index=i), variant) for variant in range(20)] for i in range(30)]
    assert all(sorted(row) == sorted(given) for row in drawn)  # none twice
    assert len({tuple(row) for row in drawn}) == 30
    # With two variants of each of 30 images nearly all are used; in turn, it would be two.
    assert len({prompt for row in drawn for prompt in row[:2]}) > 15
    again = Prompts(NAMES, ["boot", "bag"], {}, {"bag": given}, draw_seed=3)
    assert [again(seed(1, index=4), variant) for variant in range(25)] == [*drawn[4], *drawn[4][:5]]
    other = Prompts(NAMES, ["boot", "bag"], {}, {"bag": given}, draw_seed=4)
    assert [other(seed(1, index=4), variant) for variant in range(20)] != drawn[4]


def test_words_fill_a_template_as_they_are():
    words = ["<Golden-Retriever> <Golden-Retriever>_1", "ankle_boot", "{class}"]
    filled = fill_template("a {class}, {class} on {{wood}}", words)
    assert filled == [f"a {word}, {word} on {{wood}}" for word in words]
    assert fill_template("clothes", words[:2]) == ["clothes", "clothes"]
    assert fill_template("a {class}", []) == []
    with pytest.raises(UserError, match=r"'a \{klass\}': the only placeholder is \{class\}"):
        fill_template("a {klass}", words)

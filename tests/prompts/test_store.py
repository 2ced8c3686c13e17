"""What is written stays, whoever ends the process when."""

import json

import pytest

from dreamda_jax.errors import UserError
from dreamda_jax.prompts import store
from dreamda_jax.prompts.store import open_store

NAMES = ("bag", "ankle boot")
SETTINGS = {"prompts": {"model": "m", "min_words": 15}, "classes": {"number": 2}}
RECORD = {"writer": "chat", "model": "m"}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "prompts.jsonl"


def add(path, *texts, settings=SETTINGS):
    with open_store(path, settings, NAMES) as opened:
        for text in texts:
            opened.add("bag", text, RECORD)
        return opened.accepted


def test_lines(path):
    add(path, "a bag", "ein Beutel aus Öltuch")
    lines = path.read_text(encoding="utf-8").split("\n")
    assert json.loads(lines[1]) == {"class": "bag", "prompt": "ein Beutel aus Öltuch", **RECORD}
    assert lines[2:] == [""]
    assert add(path) == {"bag": ["a bag", "ein Beutel aus Öltuch"], "ankle boot": []}


def test_a_description_is_on_the_disk_at_once(path):
    with open_store(path, SETTINGS, NAMES) as opened:
        opened.add("bag", "a bag", RECORD)
        assert store.read(path, NAMES)["bag"] == ["a bag"]


@pytest.mark.parametrize("cut", range(1, 66))
def test_a_file_cut_anywhere_is_repaired(path, cut, capsys):
    add(path, "one", "two")
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    kept = ["one"] if cut < len(whole) // 2 else []
    assert store.read(path, NAMES)["bag"] == kept
    assert add(path)["bag"] == kept
    assert ("repaired" in capsys.readouterr().out) == (cut != len(whole) // 2)
    add(path, *["one", "two"][len(kept) :])
    assert path.read_bytes() == whole


def test_other_settings_are_refused(path):
    other = {**SETTINGS, "prompts": {"model": "n", "min_words": 15}}
    add(path)
    add(path, settings=other)  # nothing was written yet, so there is nothing to protect
    add(path, "a bag", settings=other)
    before = path.read_bytes()
    with pytest.raises(UserError, match=r'prompts.model: "n" here, "m" now'):
        add(path, "a bag")
    assert path.read_bytes() == before


def test_a_file_that_is_not_ours(path):
    path.parent.mkdir()
    path.write_text('{"class": "bag", "prompt": "mine"}\n')
    with pytest.raises(UserError, match=r"no prompts\.jsonl\.settings\.json"):
        add(path)
    store.settings_path(path).write_text("{}")
    with pytest.raises(UserError, match=r"no prompts\.jsonl\.settings\.json"):
        add(path)
    with pytest.raises(UserError, match="is a directory"):
        add(path.parent)


@pytest.mark.parametrize("line", ["{", "[]", '{"class": "bag"}', '{"class": "x", "prompt": "y"}'])
def test_a_line_that_is_not_ours(path, line):
    add(path, "one")
    with path.open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(UserError, match="line 2: not a line"):
        add(path)


def test_in_use(path):
    with (
        open_store(path, SETTINGS, NAMES),
        pytest.raises(UserError, match="in use by another process"),
    ):
        add(path)
    add(path)


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        add(tmp_path / "file" / "prompts.jsonl")

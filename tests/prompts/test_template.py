"""The expander's descriptions are good by the rules that a model's are judged by."""

import itertools
import json
import string

import pytest

from dreamda_jax.data.sources.labels import spoken_name
from dreamda_jax.errors import UserError
from dreamda_jax.prompts import template
from dreamda_jax.prompts.template import open_expander
from dreamda_jax.prompts.validation import Validator, num_words
from dreamda_jax.prompts.writer import Ask

NAMES = ("t-shirt", "trousers", "ankle boot", "AnnualCrop", "flowers", "unicorn", "cat")


def draw(name, count, *, seed=0, accepted=(), path=None, expander=None):
    expander = expander or open_expander(path, seed=seed)
    return expander.write(Ask(name, spoken_name(name), count, accepted=tuple(accepted)))


@pytest.mark.parametrize("name", NAMES)
def test_all_can_be_used(name):
    validator = Validator(NAMES, min_words=15, max_words=50)
    texts = draw(name, 300)
    assert len(set(texts)) == 300
    assert [validator.check(text, name) for text in texts] == [None] * 300


def test_every_sentence_with_the_shortest_words_is_long_enough():
    shortest = {slot: min(texts, key=num_words) for slot, texts in template.LISTS.items()}
    of_class = {"class": "cats", "a_class": "cats", "A_class": "Cats"}
    for sentence in template.TEMPLATES:
        assert num_words(sentence.format_map(shortest | of_class)) >= 15, sentence


def test_every_list_is_used_and_names_nothing_twice():
    used = {name for t in template.TEMPLATES for _, name, _, _ in string.Formatter().parse(t)}
    assert set(template.LISTS) <= used
    for texts in template.LISTS.values():
        assert len(set(texts)) == len(texts)


def test_articles_and_capitals():
    texts = draw("ankle boot", 60) + draw("trousers", 60) + draw("unicorn", 60)
    assert not [text for text in texts if " a ankle" in text or "an unicorn" in text]
    assert any(text.startswith("A pair of trousers ") for text in texts)
    assert any(text.startswith("An ankle boot ") for text in texts)
    assert all(text[0].isupper() and text.endswith(".") for text in texts)


def test_seed_and_class_decide():
    first = draw("cat", 20)
    assert draw("cat", 20) == first
    assert draw("cat", 20, seed=1) != first
    assert [text.replace("cat", "dog") for text in first] != draw("dog", 20)


def test_a_job_that_goes_on_writes_what_one_in_a_piece_would():
    whole = draw("cat", 50)
    assert draw("cat", 30, accepted=whole[:20]) == whole[20:]
    expander = open_expander(None, seed=0)
    parts = [draw("cat", 10, expander=expander, accepted=whole[: 10 * i]) for i in range(5)]
    assert list(itertools.chain(*parts)) == whole


def test_attributes_are_drawn_evenly():
    texts = draw("cat", 4000)
    counts = [sum(f" lit by {light}" in text for text in texts) for light in ("candlelight",)]
    # Of ten sentences six have a light, of which there are twelve; one sentence says it otherwise.
    expected = 4000 * 5 / 10 / len(template.LISTS["light"])
    assert abs(counts[0] - expected) < 5 * expected**0.5


def own(tmp_path, content):
    path = tmp_path / "attributes.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def test_own_sentences_and_lists(tmp_path):
    lists = {"template": ["{A_class} in {place} at {hour}."], "hour": ["one", "two", "one"]}
    path = own(tmp_path, {**lists, "place": ["Rome", "Oslo"]})
    assert open_expander(path, seed=0).capacity == 4
    texts = draw("cat", 10, path=path)
    assert sorted(texts) == [
        *("A cat in Oslo at one.", "A cat in Oslo at two."),
        *("A cat in Rome at one.", "A cat in Rome at two."),
    ]


def test_one_list_of_ones_own(tmp_path):
    path = own(tmp_path, {"weather": ["in a sandstorm"]})
    texts = draw("cat", 50, path=path)
    assert any("in a sandstorm" in text for text in texts)
    assert not any("fog" in text for text in texts)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "JSON object of lists"),
        ({"weather": []}, "JSON object of lists"),
        ({"weather": [3]}, "JSON object of lists"),
        ({"template": ["{a_class} in {wether}"]}, r"\{wether\}.*there are class"),
        ({"template": ["a photo in {weather}"]}, "does not name the class"),
        ({"template": ["{a_class"]}, "cannot be filled"),
        ({"template": ["{} {a_class}"]}, r"placeholder \{\}"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        open_expander(own(tmp_path, content), seed=0)


def test_no_such_file(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        open_expander(str(tmp_path / "absent.json"), seed=0)

"""Whatever form a model chooses, the same descriptions come out."""

import json

import pytest

from dreamda_jax.prompts.wording import descriptions

TEXTS = ["A bag on a table, by a lamp.", 'A "fine" bag: 2 handles, 1 strap.', "A bag in the rain"]
JSON = json.dumps(TEXTS)


def listed(form):
    return "\n".join(form.format(i, text) for i, text in enumerate(TEXTS, start=1))


@pytest.mark.parametrize(
    "answer",
    [
        "\n".join(TEXTS),
        "\r\n\r\n".join(TEXTS),
        listed("{}. {}"),
        listed("{}) {}"),
        listed("({}) {}"),
        listed("{}: {}"),
        listed("  {}.   {}  "),
        listed("{}.{}"),
        "\n".join(f"- {text}" for text in TEXTS),
        "\n".join(f"* {text}" for text in TEXTS),
        "\n".join(f"• **{text}**" for text in TEXTS),
        "\n".join(f"1. “{text}”" for text in TEXTS),
        "Sure! Here are 3 of them:\n\n" + listed("{}. {}") + "\n\nShall I write more?",
        "Here they are:\n" + "\n".join(TEXTS),
        JSON,
        json.dumps(TEXTS, indent=2),
        f"```json\n{JSON}\n```",
        f"Here is the list:\n```\n{listed('{}. {}')}\n```\nShall I write more?",
        f"```json\n{JSON}",
        json.dumps({"descriptions": TEXTS}),
        json.dumps({str(i): text for i, text in enumerate(TEXTS)}),
        json.dumps(
            [{"id": i, "class": "bag", "description": text} for i, text in enumerate(TEXTS)]
        ),
        f"Here is the array: {JSON}",
        JSON[:-1] + ",]",  # no JSON, but near enough
        f"<think>1. A bag\n2. Another?</think>\n\n{listed('{}. {}')}",
    ],
)
def test_forms(answer):
    assert descriptions(answer) == TEXTS


@pytest.mark.parametrize("answer", ["", "  \n ", "<think>hmm", "[]", "{}", "```\n```", "[1, 2]"])
def test_nothing(answer):
    assert descriptions(answer) == []


@pytest.mark.parametrize(
    "answer", [listed("{}. {}")[:-5], "\n".join(TEXTS)[:-5], JSON[:-5], f"```json\n{JSON[:-5]}"]
)
def test_the_last_of_an_answer_that_was_cut_is_left_out(answer):
    assert descriptions(answer, cut=True) == TEXTS[:2]


def test_an_array_cut_between_two():
    answer = json.dumps(TEXTS[:2])[:-1] + ","
    assert descriptions(answer, cut=True) == TEXTS[:2]


def test_white_space_of_any_kind_is_one_space():
    # U+2028 would end a line of the file for some readers.
    assert descriptions("- A\tbag\u2028on  a\u00a0table\x0b.") == ["A bag on a table ."]


def test_a_bracket_or_a_number_in_a_sentence_is_no_list():
    texts = ["A bag [small] on a table", "2 bags on a table", "3.5 kilos of bag", "10 bags"]
    assert descriptions("\n".join(texts)) == texts

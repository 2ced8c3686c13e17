import threading

import pytest

from dreamda_jax.errors import UserError
from dreamda_jax.options.prompts import REQUEST, Prompts
from dreamda_jax.prompts import build, wording
from dreamda_jax.prompts.writer import Ask
from dreamda_jax.settings import binding

KEY = "sk-0123456789abcdef"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"writer": "gpt"}, "prompts.writer must be one of 'chat', 'template'"),
        ({"model": None}, "writer='chat' needs a model"),
        ({"per_class": 0}, "per_class must be at least 1"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"max_words": 14}, "max_words=14 is below min_words=15"),
        ({"temperature": -0.1}, r"temperature must be in \[0, 2\]"),
        ({"timeout": 0.0}, "timeout must be a positive number"),
        ({"timeout": float("nan")}, "timeout must be a positive number"),
        ({"seed": -1}, "seed must be in"),
        ({"key_variable": KEY}, "name of an environment variable"),
        ({"base_url": f"https://me:{KEY}@host/v1"}, "must hold neither a user name"),
        ({"base_url": f"https://host/v1?api_key={KEY}"}, "must hold neither a user name"),
        ({"base_url": "localhost:8000/v1"}, "must be an address"),
        ({"base_url": "http://[::1/v1"}, "is not an address"),
        ({"base_url": "http://host:port/v1"}, "is not an address"),
        ({"request": "{count} of {klass}"}, r"only \{count\}, \{class\}"),
        ({"request": "{count} of {class"}, "only"),
        ({"request": "{} of {class}"}, "only"),
        ({"request": "{count} photos"}, r"lacks \{class\}"),
    ],
)
def test_values_that_cannot_be(values, message):
    with pytest.raises(UserError, match=message) as caught:
        binding.bind({"prompts": {"model": "m", **values}}, "prompts", Prompts)
    assert KEY not in str(caught.value)


def test_the_template_writer_needs_nothing():
    assert Prompts(writer="template").wording == REQUEST


def configuration(**values):
    return {"source": {"kind": "sample"}, "prompts": {"writer": "template", **values}}


def test_the_classes_are_those_of_the_source_or_of_a_file(tmp_path):
    assert "ankle boot" in build.prompting(configuration()).label_names
    file = tmp_path / "classes.txt"
    file.write_text("\ufeffgolden_retriever\n\n  pug \n", encoding="utf-8")
    parts = build.prompting(configuration(classes=str(file)))
    assert parts.label_names == ("golden_retriever", "pug")
    file.write_text("pug\npug\n")
    with pytest.raises(UserError, match=r"classes\.txt: .*'pug' occurs twice"):
        build.prompting(configuration(classes=str(file)))
    with pytest.raises(UserError, match="cannot be read"):
        build.prompting(configuration(classes=str(tmp_path / "absent")))


def test_output_in_a_store_or_among_the_images(tmp_path):
    with pytest.raises(UserError, match="on this machine"):
        build.prompting(configuration(output="gs://bucket/prompts.jsonl"))
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "a.png").write_bytes(b"x")
    folder = {"source": {"kind": "folder", "path": str(tmp_path)}}
    with pytest.raises(UserError, match="lies in the image folder"):
        build.prompting({**configuration(output=str(tmp_path / "p.jsonl")), **folder})


def test_too_few_words_for_so_many(tmp_path):
    file = tmp_path / "attributes.json"
    file.write_text('{"template": ["{a_class} in {x}"], "x": ["Rome", "Oslo"]}')
    options = Prompts(writer="template", attributes=str(file), per_class=3)
    with pytest.raises(UserError, match=r"make 2 different descriptions .*per_class=3"):
        build.open_writer(options, threading.Event())


def test_what_decides_the_descriptions_and_what_does_not():
    def settings(**values):
        return build.prompting(configuration(**{"writer": "chat", "model": "m", **values})).settings

    same = settings()
    for change in (
        *({"per_class": 3}, {"batch": 3}, {"base_url": "http://there/v1"}, {"timeout": 1.0}),
        *({"key_variable": "OTHER"}, {"max_attempts": 1}, {"seed": 1}, {"output": "x.jsonl"}),
    ):
        assert settings(**change) == same
    for change in ({"model": "n"}, {"request": "{class}"}, {"min_words": 9}, {"temperature": 0.0}):
        assert settings(**change) != same


def test_the_request_says_what_the_issue_of_it_is():
    ask = Ask("ankle_boot", "ankle boot", 7)
    (message,) = wording.messages(ask, request=REQUEST, min_words=15, max_words=50)
    assert message["role"] == "user"
    for said in ("7 different", 'only the class "ankle boot"', "random scene", "at least 15 words"):
        assert said in message["content"]
    assert "at most 50 words" in message["content"]


def test_the_request_tells_what_is_there_and_what_was_wrong():
    ask = Ask("bag", "bag", 7, accepted=tuple("abcdefg"), refused=("it is short",) * 9 + ("x",))
    (message,) = wording.messages(ask, request=REQUEST, min_words=15, max_words=50)
    assert "write others:\n- c\n- d\n- e\n- f\n- g\n" in message["content"]
    assert message["content"].endswith("could not be used:\n- it is short\n- x")

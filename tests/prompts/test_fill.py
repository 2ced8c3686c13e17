"""The loop that asks until every class has its descriptions, with a model that does badly."""

import io
import threading
from typing import ClassVar

import pytest

from dreamda_jax.errors import UserError
from dreamda_jax.options.prompts import REQUEST
from dreamda_jax.prompts import fill, store, summary
from dreamda_jax.prompts.chat import ChatClient
from dreamda_jax.prompts.chat_writer import ChatWriter
from dreamda_jax.prompts.validation import Validator
from dreamda_jax.prompts.wording import descriptions
from dreamda_jax.runtime.progress import Progress
from tests.support.chat_server import completion, fails, numbered, says, sends, sentence
from tests.support.waiting import HANG_GUARD_SECONDS

NAMES = ("t-shirt", "shirt", "bag")


@pytest.fixture
def job(server, tmp_path):
    def run(per_class=3, batch=20, max_misses=3, names=NAMES, stop=None, writer=None):
        client = ChatClient(
            server.url,
            "tiny",
            key_variable="TEST_KEY",
            temperature=1.0,
            timeout=HANG_GUARD_SECONDS,
            max_attempts=3,
            wait=lambda seconds: False,
            report=lambda line: None,
        )
        writer = writer or ChatWriter(
            client, model="tiny", wording=REQUEST, min_words=15, max_words=50
        )
        with store.open_store(tmp_path / "p.jsonl", {"model": {"x": 1}}, names) as opened:
            outcome = fill.fill(
                opened,
                writer,
                Validator(names, min_words=15, max_words=50),
                per_class=per_class,
                batch=batch,
                max_misses=max_misses,
                stop=stop or threading.Event(),
                progress=Progress(per_class * len(names), stream=io.StringIO(), unit="description"),
            )
            return outcome, opened.accepted, fill.lacking(opened, per_class)

    return run


def asked(server):
    """(count, class) of every request."""
    texts = [body["messages"][-1]["content"] for body in server.requests]
    return [(int(text.split()[2]), text.split('"')[1]) for text in texts]


def test_one_request_a_class_if_all_goes_well(server, job):
    outcome, accepted, lacking = job()
    assert asked(server) == [(3, "t-shirt"), (3, "shirt"), (3, "bag")]
    assert accepted["shirt"] == [sentence("shirt", i) for i in (3, 4, 5)]
    assert (outcome.requests, outcome.added, dict(outcome.refused)) == (3, 9, {})
    assert lacking == {}


def test_batches(server, job):
    job(per_class=7, batch=3, names=("bag",))
    assert asked(server) == [(3, "bag"), (3, "bag"), (1, "bag")]
    assert "there already" not in server.requests[0]["messages"][-1]["content"]
    assert sentence("bag", 0) in server.requests[1]["messages"][-1]["content"]


def test_too_few_and_too_many(server, job):
    server.moves = [says(lambda texts: texts[:1]), says(lambda texts: [*texts, "more", "and more"])]
    outcome, accepted, _ = job(names=("bag",))
    assert asked(server) == [(3, "bag"), (2, "bag")]
    assert "3 were asked for, and 1 came" in server.requests[1]["messages"][-1]["content"]
    assert len(accepted["bag"]) == 3
    assert dict(outcome.refused) == {fill.SURPLUS: 2}


def test_what_cannot_be_used_is_asked_for_again_and_said(server, job):
    bad = [
        sentence("t-shirt", 0),
        sentence("shirt", 0),
        sentence("shirt", 0).upper(),
        "A shirt on a table.",
        sentence("thing", 1),
        sentence("shirt", 2) * 5,
        sentence("shirt", 3) + "\x00",
    ]
    server.moves = [says(lambda texts: bad)]
    outcome, accepted, _ = job(per_class=7, names=("shirt", "t-shirt"))
    assert dict(outcome.refused) == {
        "another class named": 1,
        "duplicate": 1,
        "too short": 1,
        "class not named": 1,
        "too long": 1,
        "control characters": 1,
    }
    assert accepted["shirt"][0] == sentence("shirt", 0)
    assert len(accepted["shirt"]) == len(set(accepted["shirt"])) == 7
    said = server.requests[1]["messages"][-1]["content"]
    assert "write 6 different" in said
    assert 'it speaks of "t-shirt", which is another class' in said


def test_an_answer_at_the_limit_of_length(server, job):
    server.moves = [says(form=lambda texts: numbered(texts)[:-20], finish="length")]
    outcome, accepted, _ = job(names=("bag",))
    assert asked(server) == [(3, "bag"), (1, "bag")]
    assert len(accepted["bag"]) == 3
    assert dict(outcome.refused) == {}


def test_failures_between(server, job):
    server.moves = [fails(429, Retry_After="1"), sends(completion("x")[:-5]), says(), fails(500)]
    outcome, _, lacking = job()
    assert lacking == {}
    assert outcome.requests == 3


def test_a_class_that_gets_nothing_is_given_up_and_the_others_go_on(server, job):
    server.moves = [says(), *[says(lambda texts: ["no"])] * 3]
    outcome, accepted, lacking = job(max_misses=3)
    assert [name for _, name in asked(server)] == ["t-shirt", "shirt", "shirt", "shirt", "bag"]
    assert lacking == {"shirt": 3}
    error = summary.unfinished(outcome, lacking, output="p.jsonl", max_attempts=3)
    assert isinstance(error, UserError)
    assert "shirt: 3 (3 too short)" in str(error)
    assert "run the same command again" in str(error)
    again, accepted, lacking = job()
    assert lacking == {}
    assert again.requests == 1
    assert len(accepted["shirt"]) == 3


def test_progress_forgives_misses(server, job):
    one = says(lambda texts: texts[:1])
    none = says(lambda texts: [])
    server.moves = [one, none, one, none, one]
    assert job(names=("bag",), max_misses=2)[2] == {}


def test_a_server_that_fails_for_good_leaves_what_was_there(server, job):
    server.moves = [says()]
    server.always = fails(503)
    with pytest.raises(UserError, match="in 3 tries"):
        job()
    server.always = None
    outcome, _, lacking = job()
    assert (outcome.added, lacking) == (6, {})


def test_stopping(server, job):
    stop = threading.Event()

    class Stopping:
        record: ClassVar = {"writer": "test"}

        def write(self, ask):
            stop.set()
            return [sentence(ask.spoken, 1)]

    outcome, _, lacking = job(stop=stop, writer=Stopping())
    assert outcome.stopped
    assert outcome.requests == 1
    assert lacking == {"t-shirt": 2, "shirt": 3, "bag": 3}
    assert server.requests == []


def test_more_for_each_class_later(server, job):
    job(per_class=2)
    server.requests.clear()
    _, accepted, _ = job(per_class=3)
    assert asked(server) == [(1, "t-shirt"), (1, "shirt"), (1, "bag")]
    assert all(len(texts) == 3 for texts in accepted.values())


def test_the_server_writes_what_the_parser_reads():
    texts = [sentence("bag", i) for i in range(3)]
    assert descriptions(numbered(texts)) == texts

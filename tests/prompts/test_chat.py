"""The client against a server on this machine that misbehaves in every way it knows."""

import email.utils
import json
import time
import types

import pytest

from dreamda_jax.errors import UserError
from dreamda_jax.prompts import chat
from dreamda_jax.prompts.chat import Answer, ChatClient, seconds_to_wait
from tests.support import chat_server as servers
from tests.support.chat_server import completion, drops, fails, hangs, sends, trickles
from tests.support.waiting import HANG_GUARD_SECONDS

QUESTION = [{"role": "user", "content": 'Please write 2 different ones of the class "bag" in it.'}]
KEY = "sk-test-4f0c2a9b7d3e"


class Waits(list):
    """Takes down how long it was asked to wait, and does not."""

    def __call__(self, seconds):
        self.append(seconds)
        return False


@pytest.fixture
def waits():
    return Waits()


@pytest.fixture
def client(server, waits, monkeypatch):
    monkeypatch.setenv("TEST_KEY", KEY)
    return make(server, waits)


def make(server, waits, **changes):
    options = {"key_variable": "TEST_KEY", "temperature": 0.5, "max_attempts": 4}
    options |= {"timeout": HANG_GUARD_SECONDS, "report": lambda line: None}
    return ChatClient(server.url, "tiny", wait=waits, **{**options, **changes})


def test_what_is_sent(server, client, waits):
    server.moves = [sends(completion("hello"))]
    assert client.ask(QUESTION) == Answer("hello", cut=False)
    assert server.requests == [{"model": "tiny", "messages": QUESTION, "temperature": 0.5}]
    assert server.headers[0]["path"] == "/v1/chat/completions"
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert waits == []


def test_no_key_is_no_header_and_netrc_is_not_read(server, waits, monkeypatch, tmp_path):
    monkeypatch.delenv("TEST_KEY", raising=False)
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    server.moves = [sends(completion("hello"))]
    make(server, waits).ask(QUESTION)
    assert "Authorization" not in server.headers[0]


@pytest.mark.parametrize(
    "move",
    [
        *(fails(status, b"not now") for status in (408, 429, 500, 502, 503, 529)),
        sends(completion("hello")[:-9]),
        sends(b""),
        sends(b"<html>busy</html>"),
        sends(b'{"choices": []}'),
        sends(b'{"choices": [{"message": {}}]}'),
        sends(b'{"choices": [{"message": {"content": null}, "finish_reason": "stop"}]}'),
        sends(b"[" * 100_000),
        sends(b"[1]"),
        drops,
    ],
)
def test_what_passes_is_tried_again(server, client, waits, move):
    server.moves = [move, move, sends(completion("hello"))]
    assert client.ask(QUESTION) == Answer("hello", cut=False)
    assert len(server.requests) == 3
    assert len(waits) == 2
    assert 0.5 <= waits[0] <= 1 <= waits[1] <= 2  # doubled, with jitter


@pytest.mark.parametrize(
    "move",
    [hangs, trickles, servers.drips_status, servers.drips_headers, servers.drips_content],
)
def test_no_answer_in_time(server, waits, move):
    server.always = move
    hasty = make(server, waits, timeout=0.1, max_attempts=2)
    with pytest.raises(UserError, match=r"in 2 tries; the last: no answer within 0\.1 s"):
        hasty.ask(QUESTION)
    assert len(waits) == 1


def test_the_server_says_when(server, client, waits, monkeypatch):
    now = 1_700_000_000
    clock = types.SimpleNamespace(time=lambda: now, monotonic=time.monotonic)
    monkeypatch.setattr(chat, "time", clock)
    date = email.utils.formatdate(now + 40, usegmt=True)
    server.moves = [
        fails(429, Retry_After="7"),
        fails(503, Retry_After=date),
        fails(429, Retry_After="86400"),
    ]
    client.ask(QUESTION)
    assert waits[0] == 7
    assert waits[1] == 40
    assert waits[2] == 300  # no longer, whatever it says


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, None), ("soon", None), ("1.5", 1.5), ("-3", 0), ("nan", None), ("inf", None)],
)
def test_retry_after(header, seconds):
    assert seconds_to_wait(header, now=0.0) == seconds


def test_tries_run_out(server, client, waits):
    server.always = fails(503, {"error": {"message": "overloaded"}})
    with pytest.raises(UserError, match=r"no answer of use in 4 tries; the last: 503.*overloaded"):
        client.ask(QUESTION)
    assert len(server.requests) == 4
    assert len(waits) == 3


def test_nobody_there(server, waits):
    gone = ChatClient(
        "http://127.0.0.1:9/v1",
        "tiny",
        key_variable="TEST_KEY",
        temperature=1.0,
        timeout=HANG_GUARD_SECONDS,
        max_attempts=2,
        wait=waits,
        report=lambda line: None,
    )
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9.*in 2 tries.*connection"):
        gone.ask(QUESTION)


def test_waits_are_said_without_the_key(server, waits, monkeypatch):
    monkeypatch.setenv("TEST_KEY", KEY)
    said = []
    server.moves = [fails(429, {"error": {"message": f"too many with {KEY}"}}, Retry_After="9")]
    make(server, waits, report=said.append).ask(QUESTION)
    assert said == [
        "waiting     9.0 s before another try: 429 Too Many Requests: too many with [TEST_KEY]"
    ]


def test_asked_to_stop_while_waiting(server, monkeypatch):
    server.always = fails(503)
    stopped = make(server, lambda seconds: True)
    assert stopped.ask(QUESTION) is None
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 301])
def test_refusals_end_at_once(server, client, waits, status):
    server.moves = [fails(status, {"error": {"message": "because of that"}}, Location="http://x/")]
    with pytest.raises(UserError, match=rf"refuses: {status}.*because of that"):
        client.ask(QUESTION)
    assert len(server.requests) == 1
    assert waits == []


def test_an_account_without_credit_is_not_asked_again(server, client):
    error = {"message": "You exceeded your current quota", "code": "insufficient_quota"}
    server.moves = [fails(429, {"error": error})]
    with pytest.raises(UserError, match="exceeded your current quota"):
        client.ask(QUESTION)
    assert len(server.requests) == 1


@pytest.mark.parametrize("content", [b'{"detail": "no such"}', b'{"error": "no such"}', b"no such"])
def test_other_forms_of_an_error(server, client, content):
    server.moves = [fails(400, content)]
    with pytest.raises(UserError, match=r"400 Bad Request: no such"):
        client.ask(QUESTION)


def test_an_answer_that_quotes_the_key(server, client):
    text = f"A bag on a chair.\nA bag with Bearer {KEY} on it.\nA bag on a shelf."
    server.moves = [sends(completion(text))]
    assert client.ask(QUESTION) == Answer("A bag on a chair.\nA bag on a shelf.", cut=False)


def test_an_error_that_quotes_the_key(server, client):
    server.moves = [fails(401, {"error": {"message": f"Incorrect API key provided: {KEY}."}})]
    with pytest.raises(UserError) as caught:
        client.ask(QUESTION)
    assert "Incorrect API key provided: [TEST_KEY]" in str(caught.value)
    assert "environment variable TEST_KEY" in str(caught.value)
    error = caught.value
    while error is not None:  # nor in what it came from
        assert KEY not in repr(error)
        error = error.__cause__


REASONS = {
    "refused": b"HTTP/1.1 403 Bad key %s\r\nContent-Length: 0\r\n\r\n",
    "busy": b"HTTP/1.1 503 Later, %s\r\nContent-Length: 0\r\n\r\n",
    "no HTTP": b"I do not like %s\r\n\r\n",
    "no status": b"HTTP/1.1 abc %s\r\n\r\n",
    "header": b"HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n",
    "encoding": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n%s, which is no gzip",
}


@pytest.mark.parametrize("answer", REASONS.values(), ids=REASONS)
@pytest.mark.parametrize("key", [KEY, "s3cr", "a+b/c=d&e"])
def test_a_server_that_repeats_the_key_anywhere(server, waits, monkeypatch, answer, key):
    monkeypatch.setenv("TEST_KEY", key)
    said = []
    server.always = servers.raw(answer % key.encode())
    with pytest.raises(UserError) as caught:
        make(server, waits, report=said.append, max_attempts=2).ask(QUESTION)
    for text in (str(caught.value), *said):
        assert key not in text


def test_a_server_s_words_do_nothing_to_a_terminal(server, client):
    words = "\x1b]0;title\x07\x1b[2J \u202eevil\x9b31m bell\x07 über \ud83d\ude00"
    body = json.dumps({"error": {"message": words}}).encode()
    answer = b"HTTP/1.1 400 \x1b[31mRed\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    server.moves = [servers.raw(answer)]
    with pytest.raises(UserError) as caught:
        client.ask(QUESTION)
    text = str(caught.value)
    assert text.isprintable()
    assert r"400 \x1b[31mRed: \x1b]0;title\x07\x1b[2J \u202eevil\x9b31m bell\x07 über 😀" in text


def test_no_key_was_sent_is_said(server, waits, monkeypatch):
    monkeypatch.delenv("TEST_KEY", raising=False)
    server.moves = [fails(401, b"who are you")]
    with pytest.raises(UserError, match="TEST_KEY is not set"):
        make(server, waits).ask(QUESTION)


@pytest.mark.parametrize("key", [f"{KEY}\n{KEY}", f"Bearer {KEY}", f"{KEY}é"])
def test_a_key_that_is_none(server, waits, monkeypatch, key):
    monkeypatch.setenv("TEST_KEY", key)
    with pytest.raises(UserError, match="TEST_KEY") as caught:
        make(server, waits)
    assert KEY not in str(caught.value)


def test_space_around_a_key_goes(server, waits, monkeypatch):
    monkeypatch.setenv("TEST_KEY", f" {KEY}\n")
    server.moves = [sends(completion("hello"))]
    make(server, waits).ask(QUESTION)
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


def test_forms_of_an_answer(server, client):
    parts = [{"type": "text", "text": "in "}, {"type": "image"}, {"type": "text", "text": "parts"}]
    server.moves = [
        sends(completion(parts)),
        sends(completion("an end that", finish="length")),
        sends(completion(None, finish="content_filter")),
    ]
    assert client.ask(QUESTION) == Answer("in parts", cut=False)
    assert client.ask(QUESTION) == Answer("an end that", cut=True)
    assert client.ask(QUESTION) == Answer("", cut=False)


def test_what_a_server_says_is_quoted_in_part(server, client):
    server.moves = [fails(400, json.dumps({"error": {"message": "long " * 1000}}).encode())]
    with pytest.raises(UserError) as caught:
        client.ask(QUESTION)
    assert len(str(caught.value)) < 700


def test_the_server_of_these_tests_answers(server, client):
    assert client.ask(QUESTION).text == servers.numbered(
        [servers.sentence("bag", 0), servers.sentence("bag", 1)]
    )

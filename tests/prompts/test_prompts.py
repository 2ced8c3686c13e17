"""`python -m dreamda_jax.prompts` as a user runs it, against a server on this machine."""

import os
import re
import signal
import subprocess
import sys

import pytest

from dreamda_jax.data.prompts import open_prompts
from dreamda_jax.prompts.validation import Validator
from tests.support.chat_server import completion, fails, hangs, says, sends, sentence
from tests.support.paths import ROOT
from tests.support.read_only_disk import needs_root, read_only_disk
from tests.support.waiting import HANG_GUARD_SECONDS, wait_until

KEY = "sk-end-to-end-8c1f9e0d"
NAMES = (
    *("t-shirt", "trousers", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
)


def command(output, *overrides):
    return [
        *(sys.executable, "-m", "dreamda_jax.prompts", "--config", "configs/fashion.py"),
        f"--config.prompts.output={output}",
        *overrides,
    ]


def environment(**variables):
    return {**os.environ, "OPENAI_API_KEY": "not this one", "TEST_KEY": KEY, **variables}


def run(output, *overrides, code=0, **variables):
    done = subprocess.run(
        command(output, *overrides),
        cwd=ROOT,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=HANG_GUARD_SECONDS,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert KEY not in done.stdout + done.stderr
    return done


def of(server, *overrides):
    return (
        f"--config.prompts.base_url={server.url}",
        *("--config.prompts.model=tiny", "--config.prompts.key_variable=TEST_KEY"),
        *("--config.prompts.per_class=4", *overrides),
    )


def by_class(path):
    prompts = open_prompts(NAMES, file=str(path)).by_class
    validator = Validator(NAMES, min_words=15, max_words=50)
    for name, texts in prompts.items():
        assert len(set(texts)) == len(texts)
        assert [validator.check(text, name) for text in texts] == [None] * len(texts)
    return prompts


@pytest.fixture
def path(tmp_path):
    return tmp_path / "out" / "prompts.jsonl"


def test_a_server_that_misbehaves(server, path):
    server.moves = [
        fails(429, {"error": {"message": f"slow down, {KEY}"}}, Retry_After="0"),
        sends(completion("1. A")[:-7]),
        says(lambda texts: texts[:1]),
        says(lambda texts: [*texts, *texts]),
        fails(500, b"oops", Retry_After="0"),
        says(lambda texts: [*texts[:2], texts[0], sentence("bag", 77)]),
    ]
    done = run(path, *of(server))
    assert {name: len(texts) for name, texts in by_class(path).items()} == dict.fromkeys(NAMES, 4)
    assert "10 of section source (sample)" in done.stdout
    assert "at least 10, and about" in done.stdout
    assert "4 descriptions of each of 10 classes, 40 of them now, in 12 requests" in done.stdout
    for reason in ("3 more than asked for", "1 duplicate", "1 class not named"):
        assert reason in done.stdout
    assert f"--config.prompt.file={path}" in done.stdout
    assert "40/40 descriptions" in done.stderr
    assert all(headers["Authorization"] == f"Bearer {KEY}" for headers in server.headers)

    server.requests.clear()
    again = run(path, *of(server))
    assert "nothing left to do" in again.stdout
    other = run(path, *of(server, "--config.prompts.model=large"), code=1)
    assert 'prompts.model: "tiny" here, "large" now' in other.stderr
    assert server.requests == []
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "prompts.jsonl",
        "prompts.jsonl.settings.json",
    ]
    for file in path.parent.iterdir():
        assert KEY not in file.read_text()


def test_killed_and_cut_and_continued(server, path):
    server.moves = [says(), says(), says(lambda texts: texts[:3]), hangs]
    process = subprocess.Popen(
        command(path, *of(server)),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: len(server.requests) == 4, process)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    before = path.read_bytes()
    assert before.count(b"\n") == 11
    path.write_bytes(before[:-10])  # what a machine that lost power may leave

    server.requests.clear()
    done = run(path, *of(server))
    assert "repaired" in done.stdout
    asked = [body["messages"][-1]["content"] for body in server.requests]
    assert re.search(r'write 2 different .*"pullover"', asked[0], re.S)
    assert len(asked) == 8
    assert path.read_bytes().startswith(b"".join(before.splitlines(keepends=True)[:10]))
    assert {name: len(texts) for name, texts in by_class(path).items()} == dict.fromkeys(NAMES, 4)


def test_sigterm_ends_a_long_wait(server, path, tmp_path):
    server.moves = [says(), fails(503, Retry_After="250")]
    said = tmp_path / "said"
    with said.open("w") as stream:
        process = subprocess.Popen(
            command(path, *of(server)),
            cwd=ROOT,
            env=environment(),
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    wait_until(lambda: "250.0 s before another try" in said.read_text(), process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(HANG_GUARD_SECONDS) == 128 + signal.SIGTERM, said.read_text()
    assert "run the same command again to continue" in said.read_text()
    assert len(server.requests) == 2  # and none after the wait
    assert len(by_class(path)["t-shirt"]) == 4


def test_a_server_that_refuses_and_quotes_the_key(server, path):
    server.always = fails(401, {"error": {"message": f"Incorrect API key provided: {KEY}"}})
    done = run(path, *of(server), code=1)
    assert "refuses: 401 Unauthorized: Incorrect API key provided: [TEST_KEY]" in done.stderr
    assert len(server.requests) == 1
    for file in path.parent.iterdir():
        assert KEY not in file.read_text()


def test_a_model_that_cannot(server, path):
    server.always = says(lambda texts: ["A bag."])
    done = run(path, *of(server, "--config.prompts.max_attempts=2"), code=1)
    assert "40 descriptions are missing; 2 requests in a row" in done.stderr
    assert "trousers: 4 (2 too short)" in done.stderr
    assert "run the same command again" in done.stderr
    assert path.read_bytes() == b""


def test_dry_run_asks_and_writes_nothing(server, path):
    done = run(path, *of(server, "--config.prompts.batch=3"), "--dry_run")
    assert f"writer      tiny at {server.url}" in done.stdout
    assert "40 are missing" in done.stdout
    assert "requests    at least 20" in done.stdout
    assert server.requests == []
    assert not path.parent.exists()


def test_word_lists(path):
    overrides = ("--config.prompts.writer=template", "--config.prompts.per_class=25")
    done = run(path, *overrides)
    assert "example     t-shirt: " in done.stdout
    assert {name: len(texts) for name, texts in by_class(path).items()} == dict.fromkeys(NAMES, 25)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    run(path, *overrides)
    assert path.read_bytes() == whole
    other = run(path, *overrides, "--config.prompts.seed=1", code=1)
    assert "prompts.seed: 0 here, 1 now" in other.stderr


def test_classes_of_a_file(path, tmp_path):
    file = tmp_path / "classes.txt"
    file.write_text("golden_retriever\n001.ak47\n")
    run(path, "--config.prompts.writer=template", f"--config.prompts.classes={file}")
    found = open_prompts(("golden_retriever", "001.ak47"), file=str(path)).by_class
    assert all("golden retriever" in text for text in found["golden_retriever"])
    assert any("an ak47 " in text for text in found["001.ak47"])


def test_the_writer_that_was_removed_is_named_with_what_to_do(path):
    done = run(path, "--config.prompts.writer=local", "--config.prompts.model=gpt2", code=1)
    assert "prompts.writer=local was removed in 0.2" in done.stderr
    assert "--config.prompts.base_url=http://localhost:PORT/v1" in done.stderr


@needs_root
def test_finished_descriptions_on_a_read_only_disk(tmp_path):
    path, disk = tmp_path / "prompts.jsonl", tmp_path / "disk"
    template = ("--config.prompts.writer=template", "--config.prompts.per_class=3")
    run(path, *template)
    disk.mkdir()
    with read_only_disk(disk, path, path.with_name("prompts.jsonl.settings.json")):
        done = run(disk / "prompts.jsonl", *template)
        assert "nothing left to do" in done.stdout
        more = run(disk / "prompts.jsonl", *template, "--config.prompts.per_class=4", code=1)
        assert "cannot be written (Read-only file system)" in more.stderr

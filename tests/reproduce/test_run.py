"""Failures, what is finished, and stopping; each command a script of a line."""

import signal
import threading

import pytest

from dreamda_jax.reproduce import progress
from dreamda_jax.reproduce.cells import stages
from dreamda_jax.reproduce.run import run_cells, run_child
from tests.support.small_study import CONFIG, cell, ran, replace_stages, setup, write_json
from tests.support.waiting import wait_until

STAGES = ("generate", "evaluate", "labels", "train")


def run(cells, tmp_path, *, stop=None, **changes):
    seen = []
    outcome = run_cells(
        cells,
        setup(tmp_path / "study", **changes),
        stop or threading.Event(),
        lambda failures: seen.append(dict(failures)),
    )
    return outcome, seen


def test_a_failing_cell_does_not_stop_the_others(monkeypatch, tmp_path, capsys):
    scripts = {
        ("a", "generate"): "print('before'); sys.exit('no such model')",
        ("b", "evaluate"): "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        ("c", "train"): "print('all is well')",  # and writes nothing
    }
    replace_stages(monkeypatch, tmp_path, scripts)
    outcome, seen = run([cell(name) for name in "abcd"], tmp_path)
    assert outcome.complete
    assert {key: ended.reason for key, ended in outcome.failures.items()} == {
        ("a", "generate"): "exit code 1",
        ("b", "evaluate"): "killed by SIGKILL",
        ("c", "train"): "exit code 1",
    }
    # Without its set nothing of a cell can be made; without its report everything else can.
    assert ran(tmp_path) == [
        *("b generate", "b labels", "b train"),
        *("c generate", "c evaluate", "c labels"),
        *(f"d {stage}" for stage in STAGES),
    ]
    assert outcome.failures["a", "generate"].last_lines == ("before", "no such model")
    assert "was not written" in outcome.failures["c", "train"].last_lines[-1]
    assert [len(failures) for failures in seen] == [1, 2, 3, 3]
    printed = capsys.readouterr().out
    assert "[1/4] a: generate FAILED, exit code 1" in printed
    assert "    no such model" in printed


@pytest.mark.parametrize("continues", [True, False])
def test_what_an_older_version_finished(tmp_path, continues):
    of_study = setup(tmp_path / "study")
    labels, evaluate = (
        next(stage for stage in stages(cell("a"), of_study) if stage.name == name)
        for name in ("labels", "evaluate")
    )
    finished = of_study.directory(cell("a")) / "finished"
    old = labels.command.replace("dreamda_jax.reproduce.labels", "dreamda_jax.reproduction.labels")
    for stage, command in ((labels, old), (evaluate, "python -m dreamda_jax.evaluate other")):
        note = {"command": command, "config": "of 0.1", "seconds": 3.0}
        write_json(finished / f"{stage.name}.json", note)
        write_json(stage.result, {})
    progress.renew([cell("a")], of_study, continues=continues)
    digest = of_study.digest(cell("a"))
    directory = of_study.directory(cell("a"))
    assert (progress.finished(directory, labels, digest=digest) is not None) == continues
    # Made by another command: not finished, and kept for whoever gives that command again.
    assert progress.finished(directory, evaluate, digest=digest) is None
    assert (finished / "evaluate.json").exists() == continues


def test_finished_stages_are_skipped(monkeypatch, tmp_path, capsys):
    replace_stages(monkeypatch, tmp_path, {})
    run([cell("a"), cell("b")], tmp_path)
    assert len(ran(tmp_path)) == 2 * len(STAGES)
    run([cell("a"), cell("b")], tmp_path)
    assert ran(tmp_path) == []
    assert "[2/2] b: train is done already" in capsys.readouterr().out

    directory = tmp_path / "study" / "cells" / "a"
    (directory / "made" / "labels").unlink()
    run([cell("a"), cell("b")], tmp_path)
    assert ran(tmp_path) == ["a labels"]
    (directory / "made" / "generate").unlink()  # all others were made from it
    run([cell("a"), cell("b")], tmp_path)
    assert ran(tmp_path) == [f"a {stage}" for stage in STAGES]
    run([cell("a")], tmp_path, digests={CONFIG: "of another one"})
    assert ran(tmp_path) == [f"a {stage}" for stage in STAGES]


def test_what_failed_is_tried_again(monkeypatch, tmp_path):
    replace_stages(monkeypatch, tmp_path, {("a", "evaluate"): "sys.exit(3)"})
    outcome, _ = run([cell("a")], tmp_path)
    assert list(outcome.failures) == [("a", "evaluate")]
    replace_stages(monkeypatch, tmp_path, {})
    ran(tmp_path)
    outcome, _ = run([cell("a")], tmp_path)
    assert not outcome.failures
    assert ran(tmp_path) == ["a evaluate"]


WAITS = """
import pathlib, signal, sys
def told(signum, frame):
    print("told", signal.Signals(signum).name)
    sys.exit({code})
signal.signal(signal.SIGTERM, told)
pathlib.Path({ready!r}).touch()
signal.pause()
"""


def set_when_ready(ready, stop):
    def wait():
        try:
            wait_until(ready.exists)
        finally:
            stop.set()

    threading.Thread(target=wait, daemon=True).start()


def test_a_stop_is_passed_on_and_the_study_continues(monkeypatch, tmp_path):
    stop, ready = threading.Event(), tmp_path / "ready"
    script = WAITS.format(code=128 + signal.SIGTERM, ready=str(ready))
    replace_stages(monkeypatch, tmp_path, {("b", "evaluate"): script})
    set_when_ready(ready, stop)
    outcome, seen = run([cell("a"), cell("b"), cell("c")], tmp_path, stop=stop)
    assert (outcome.failures, outcome.complete, len(seen)) == ({}, False, 1)
    assert ran(tmp_path) == [*(f"a {stage}" for stage in STAGES), "b generate"]
    log = tmp_path / "study" / "cells" / "b" / "evaluate.log"
    assert log.read_text().splitlines() == ["told SIGTERM"]

    replace_stages(monkeypatch, tmp_path, {})
    outcome, _ = run([cell("a"), cell("b"), cell("c")], tmp_path)
    assert outcome.complete
    assert ran(tmp_path) == [
        *(f"b {stage}" for stage in STAGES[1:]),
        *(f"c {stage}" for stage in STAGES),
    ]


def test_a_child_that_was_done_when_it_was_told_is_done(tmp_path, monkeypatch):
    stop, ready = threading.Event(), tmp_path / "ready"
    (tmp_path / "waits.py").write_text(WAITS.format(code=0, ready=str(ready)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    set_when_ready(ready, stop)
    ended = run_child("waits", (), log=tmp_path / "log", stop=stop)
    assert ended is not None
    assert (ended.code, ended.last_lines) == (0, ("told SIGTERM",))


def test_last_lines_are_those_of_this_start(tmp_path, monkeypatch):
    (tmp_path / "talks.py").write_text(
        "import sys\n"
        "print('\\r'.join(f'{step}/40 steps' for step in range(40)))\n"
        "sys.exit('because of ' + sys.argv[1])\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    log = tmp_path / "logs" / "log"
    for reason in ("one", "two"):
        ended = run_child("talks", (reason,), log=log, stop=threading.Event())
    assert ended is not None
    lines = ended.last_lines
    assert ended.reason == "exit code 1"
    assert lines[-2:] == ("39/40 steps", "because of two")
    assert len(lines) == 12
    assert "because of one" in log.read_text()

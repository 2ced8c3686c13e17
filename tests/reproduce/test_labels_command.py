"""`python -m dreamda_jax.reproduce.labels` ends as the other commands do."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.small_training import garment, make_synthetic

PROGRESS = r"(\d/6 images.*\n)+"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_synthetic(tmp_path_factory.mktemp("labels") / "made", seeds=3, pixels=garment)


def ask(*arguments, stdout=subprocess.PIPE):
    command = [sys.executable, "-m", "dreamda_jax.reproduce.labels", *map(str, arguments)]
    return subprocess.run(
        command, cwd=ROOT, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False
    )


def test_what_it_prints_and_writes(made, tmp_path):
    done = ask(made, "--oracle=sample", f"--output={tmp_path / 'labels.json'}")
    assert done.returncode == 0
    assert re.fullmatch(PROGRESS, done.stderr)
    found = json.loads((tmp_path / "labels.json").read_bytes())
    assert found["images"] == 6
    assert f"labels      {found['share']:.1%} of 6 are the oracle's too" in done.stdout


@pytest.mark.parametrize("device", ["/dev/full", "nobody"])
def test_an_output_that_goes_nowhere(made, tmp_path, device):
    arguments = (made, "--oracle=sample", f"--output={tmp_path / 'labels.json'}")
    if device == "nobody":
        with subprocess.Popen(["true"], stdin=subprocess.PIPE) as gone:
            gone.wait()
            done = ask(*arguments, stdout=gone.stdin)
        assert done.returncode == 141
        assert re.fullmatch(PROGRESS, done.stderr)
        return
    if not Path(device).exists():
        pytest.skip("no /dev/full")
    with open(device, "w") as full:
        done = ask(*arguments, stdout=full)
    assert done.returncode == 1
    last = "error: standard output cannot be written: No space left on device\n"
    assert re.fullmatch(PROGRESS + last, done.stderr)


def test_what_is_wrong_is_one_printable_line(tmp_path):
    done = ask(tmp_path / "no\x1b[31mset", "--oracle=sample", f"--output={tmp_path / 'x.json'}")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "\x1b" not in done.stderr

"""Processes that share an output directory make one data set, whichever of them lives."""

import re
import signal
from pathlib import Path

import pytest

from dreamda_jax.data.sets import dataset
from tests.multihost.processes import finish, start
from tests.support.generate_command import SEEDS, VARIANTS, command, contents, generate, markers
from tests.support.held import held
from tests.support.waiting import wait_until

pytestmark = pytest.mark.multihost


@pytest.fixture(scope="module")
def reference(tmp_path_factory, micro_checkpoint) -> Path:
    """Made by one process."""
    directory = tmp_path_factory.mktemp("reference") / "set"
    done = generate(directory, micro_checkpoint)
    assert done.returncode == 0, done.stderr
    return directory


def test_two_processes_make_the_bytes_of_one(reference, tmp_path, micro_checkpoint):
    output = tmp_path / "set"
    done = finish(start(command(output, micro_checkpoint), count=2))
    assert [code for code, _ in done] == [0, 0], done
    assert contents(output) == contents(reference)
    # Whoever was last found nothing missing; the other said what was.
    assert sum("done      36 images" in printed for _, printed in done) >= 1


def test_what_a_killed_process_left_is_made_by_another_number_of_them(
    reference, tmp_path, micro_checkpoint
):
    output = tmp_path / "set"
    line = command(output, micro_checkpoint)
    # Killed while it works on its first or a later shard: 9 shards, 3 for each.
    processes = start(line, count=3, others={1: held(line, output / "done" / "*")})
    wait_until(lambda: markers(output), processes[1])
    processes[1].send_signal(signal.SIGKILL)
    done = finish(processes)
    assert [code for code, _ in done] == [0, -signal.SIGKILL, 0], done
    left = 9 - markers(output)
    assert 0 < left <= 3
    for _, printed in (done[0], done[2]):
        assert int(re.search(r"(\d+) shards of other processes are left", printed)[1]) >= left
        assert "is made again" not in printed  # others may be writing theirs
    again = finish(start(line, count=2))
    assert [code for code, _ in again] == [0, 0], again
    assert contents(output) == contents(reference)
    made = [(record.seed_id, record.variant) for record in dataset.read_records(output)]
    assert made == [(seed, variant) for seed in range(SEEDS) for variant in range(VARIANTS)]


def test_a_process_that_comes_alone_makes_its_share_and_says_what_is_left(
    tmp_path, micro_checkpoint
):
    alone = start(command(tmp_path / "set", micro_checkpoint), count=3, only=[2])
    ((code, printed),) = finish(alone)
    assert code == 0
    assert "6 shards of other processes are left" in printed
    assert markers(tmp_path / "set") == 3

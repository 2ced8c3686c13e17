"""The log of a training: valid JSON, event files TensorBoard reads, and resumption."""

import json
import math
import struct
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from dreamda_jax.errors import UserError
from dreamda_jax.runtime.log import TrainingLog, read_log


def events_in(directory):
    """All events, file by file in the order TensorBoard reads them."""
    found = []
    for path in sorted((directory / "tensorboard").iterdir()):
        assert "tfevents" in path.name
        data = path.read_bytes()
        while data:  # a record: length, its checksum, the bytes, their checksum
            (length,) = struct.unpack("<Q", data[:8])
            found.append(Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
    return found


def scalars_in(directory):
    return [
        (event.step, value.tag, value.simple_value)
        for event in events_in(directory)
        for value in event.summary.value
    ]


def log_steps(directory, steps, *, resume_step=0, loss=1.0):
    with TrainingLog(directory, resume_step=resume_step) as log:
        for step in steps:
            log.write(step, {"train/loss": loss})


def steps_and_losses(directory):
    return [(row["step"], row["train/loss"]) for row in read_log(directory)]


def test_lines_and_events(tmp_path):
    directory = tmp_path / "new" / "run"
    with TrainingLog(directory) as log:
        log.write(10, {"epoch": 1.25, "train/loss": jnp.float32(0.5), "lr": np.float64(0.1)})
        text = (directory / "metrics.jsonl").read_text()  # while the log is open
        log.write(20, {"train/loss": float("nan"), "norm": -math.inf})
    assert text == '{"step": 10, "epoch": 1.25, "train/loss": 0.5, "lr": 0.1}\n'

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    lines = (directory / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line, parse_constant=refuse) for line in lines]
    assert rows[1] == {"step": 20, "train/loss": None, "norm": None}
    first, second = read_log(directory)
    assert first == {"step": 10, "epoch": 1.25, "train/loss": 0.5, "lr": 0.1}
    assert math.isnan(second["train/loss"])

    scalars = scalars_in(directory)
    assert scalars[:2] == [(10, "epoch", 1.25), (10, "train/loss", 0.5)]
    assert math.isnan(scalars[3][2])
    assert scalars[4] == (20, "norm", -math.inf)
    assert events_in(directory)[0].file_version == "brain.Event:2"


def test_resume_removes_what_will_be_logged_again(tmp_path):
    log_steps(tmp_path, (10, 20, 30, 40))
    log_steps(tmp_path, (30, 40, 50), resume_step=20, loss=2.0)
    assert steps_and_losses(tmp_path) == [(10, 1), (20, 1), (30, 2), (40, 2), (50, 2)]
    starts = [e.step for e in events_in(tmp_path) if e.session_log.status == SessionLog.START]
    assert starts == [0, 21]  # TensorBoard forgets steps from 21 on
    assert len(list((tmp_path / "tensorboard").iterdir())) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.jsonl", "tensorboard"}


def test_a_training_from_the_start_begins_a_new_log(tmp_path):
    log_steps(tmp_path, (0, 10))
    log_steps(tmp_path, (0,), loss=2.0)
    assert steps_and_losses(tmp_path) == [(0, 2)]


def test_torn_last_line_of_a_killed_process(tmp_path):
    log_steps(tmp_path, (10, 20))
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes() + b'{"step": 30, "train/lo')
    assert steps_and_losses(tmp_path) == [(10, 1), (20, 1)]
    log_steps(tmp_path, (30,), resume_step=25)
    assert steps_and_losses(tmp_path) == [(10, 1), (20, 1), (30, 1)]
    assert len(path.read_text().splitlines()) == 3


def test_resuming_without_a_log(tmp_path):
    log_steps(tmp_path, (30,), resume_step=20)
    assert steps_and_losses(tmp_path) == [(30, 1)]


def test_damaged_and_missing_logs_are_explained(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read_log(tmp_path)
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n\0\0\0\n{"step": 3}\n')
    with pytest.raises(UserError, match="line 2 is damaged"):
        TrainingLog(tmp_path, resume_step=5)
    assert not list(tmp_path.glob("tensorboard/*"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full device")
def test_full_disk_is_explained(tmp_path):
    log = TrainingLog(tmp_path)
    log._lines.close()
    log._lines = open("/dev/full", "ab")  # noqa: SIM115
    with pytest.raises(UserError, match="No space left"):
        log.write(1, {"loss": 1.0})
    with pytest.raises(UserError, match="No space left"):
        log.close()


def test_the_step_cannot_be_given_twice(tmp_path):
    with TrainingLog(tmp_path) as log, pytest.raises(ValueError, match="line's own"):
        log.write(1, {"step": 2})

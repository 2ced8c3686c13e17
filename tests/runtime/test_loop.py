"""The loop with a step that can be followed by hand."""

import itertools
import math
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from dreamda_jax.runtime import loop as loop_file
from dreamda_jax.runtime.checkpoint import Checkpoints
from dreamda_jax.runtime.log import TrainingLog, read_log
from dreamda_jax.runtime.loop import Diverged, Loop
from dreamda_jax.runtime.program_notes import NONE, ProgramNotes
from dreamda_jax.runtime.progress import Progress
from dreamda_jax.runtime.state import TrainState


def first_state() -> TrainState:
    return TrainState(
        step=jnp.int32(0), params={"w": jnp.float32(0)}, batch_stats={}, opt_state=(), ema=None
    )


@jax.jit
def add(state: TrainState, batch):
    """w becomes w/2 + batch; the loss of a step is w before it."""
    w = state.params["w"]
    metrics = {
        "loss": w,
        "accuracy": jnp.float32(0.5),
        "gradient_norm": jnp.where(batch < 0, jnp.inf, 1.0),
        "learning_rate": jnp.float32(0.1),
    }
    params = {"w": jnp.where(batch < 0, jnp.nan, w / 2 + batch)}
    return state.replace(step=state.step + 1, params=params), metrics


def run(directory: Path, *, num_steps=20, stop_after=None, bad_step=None, validate=None, **options):
    """Trains from the newest checkpoint on; `stop_after` steps it is asked to stop."""
    checkpoints = Checkpoints(directory / "checkpoints")
    stop = threading.Event()
    restored = checkpoints.restore(first_state())
    state = restored[1] if restored else first_state()

    def batches():
        for made in itertools.count(1):
            step = int(state.step) + made
            if stop_after == made:
                stop.set()
            yield jnp.float32(-1.0 if step == bad_step else step)

    with TrainingLog(directory, resume_step=int(state.step)) as log:
        loop = Loop(
            step=add,
            num_steps=num_steps,
            batch_size=4,
            steps_per_epoch=5.0,
            log_every=options.get("log_every", 2),
            checkpoint_every=options.get("checkpoint_every", 6),
            validate_every=options.get("validate_every", options.get("checkpoint_every", 6)),
            describe=lambda means: f"loss {means['loss']:.3f}",
            advice="Try a lower rate.",
            validate=validate or (lambda state: {"validation/accuracy": float(state.params["w"])}),
            log=log,
            progress=Progress(num_steps * 4),
            checkpoints=checkpoints,
            stop=stop,
            notes=options.get("notes", NONE),
        )
        try:
            return loop.run(state, batches())
        finally:
            checkpoints.close()


def steps_in(directory: Path) -> list[str]:
    return sorted(p.name for p in (directory / "checkpoints").iterdir() if p.name.isdigit())


def test_it_logs_every_so_many_steps_and_keeps_the_last_two_checkpoints(tmp_path):
    fitted = run(tmp_path)
    assert fitted.finished
    assert int(fitted.state.step) == 20
    rows = read_log(tmp_path)
    assert [r["step"] for r in rows if "train/loss" in r] == list(range(2, 21, 2))
    assert [r["step"] for r in rows if "validation/accuracy" in r] == [6, 12, 18, 20]
    assert rows[0]["train/loss"] == 1.0  # w before step 2
    assert rows[0]["epoch"] == pytest.approx(0.4)
    assert steps_in(tmp_path) == ["18", "20"]


def test_it_validates_between_checkpoints_where_asked(tmp_path):
    run(tmp_path, validate_every=4)
    rows = read_log(tmp_path)
    assert [r["step"] for r in rows if "validation/accuracy" in r] == [4, 8, 12, 16, 20]
    assert steps_in(tmp_path) == ["18", "20"]


def test_the_logged_values_do_not_depend_on_an_interruption(tmp_path):
    run(tmp_path / "whole")
    stopped = run(tmp_path / "parts", stop_after=9)
    assert not stopped.finished
    assert steps_in(tmp_path / "parts") == ["6", "9"]  # asked to stop between two checkpoints
    finished = run(tmp_path / "parts")
    assert finished.finished
    assert read_log(tmp_path / "parts") == read_log(tmp_path / "whole")


def test_a_step_that_is_no_number_stops_it_and_keeps_the_last_good_checkpoint(tmp_path):
    with pytest.raises(Diverged, match=r"diverged at step 9: .*checkpoint is that of step 6"):
        run(tmp_path, bad_step=9)
    assert steps_in(tmp_path) == ["6"]
    losses = [row["train/loss"] for row in read_log(tmp_path) if "train/loss" in row]
    assert losses
    assert all(map(math.isfinite, losses))


def test_the_step_before_a_checkpoint_is_checked_before_it_is_written(tmp_path):
    with pytest.raises(Diverged, match=r"step 12: .*step 6"):
        run(tmp_path, bad_step=12)
    assert steps_in(tmp_path) == ["6"]


def test_divergence_before_any_checkpoint_says_so(tmp_path):
    with pytest.raises(Diverged, match=r"step 2: .*No checkpoint had been made"):
        run(tmp_path, bad_step=2)


def test_speed_leaves_out_validation(tmp_path, monkeypatch):
    clock = [0.0]

    def tick() -> float:
        clock[0] += 0.001
        return clock[0]

    def validate(_):
        clock[0] += 1000.0
        return {}

    monkeypatch.setattr("dreamda_jax.runtime.loop.time.monotonic", tick)
    fitted = run(tmp_path, validate=validate, log_every=1)
    assert fitted.images > 0
    assert fitted.seconds < 1000.0


def test_it_notes_how_long_a_step_takes_with_its_share_of_validations(tmp_path, monkeypatch):
    clock = iter(range(1_000_000))
    monkeypatch.setattr(loop_file.time, "monotonic", lambda: float(next(clock)))
    notes = ProgramNotes(tmp_path / "notes.json")

    def validate(state):
        for _ in range(100):
            next(clock)
        return {}

    run(tmp_path / "run", validate=validate, checkpoint_every=2, notes=notes)
    assert notes.seconds_each > 50  # a hundred for every two steps

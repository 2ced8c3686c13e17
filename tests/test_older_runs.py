"""Runs that 0.1 began go on under this version, or are refused with what to do.

tests/support/runs/v0_1 holds them as 0.1 left them, with their model and images.
"""

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from configs import methods
from dreamda_jax.data.files.migrations import CHANGES, Defaulted, Removed, Renamed
from dreamda_jax.data.sets import dataset
from dreamda_jax.data.transforms import decode_image
from dreamda_jax.runtime.log import read_log
from tests.support import warm_start
from tests.support.paths import ROOT
from tests.support.runs.commands import COMMANDS, CONFIG
from tests.support.xla import QUICK

RUNS = ROOT / "tests" / "support" / "runs" / "v0_1"


@pytest.fixture
def begun(tmp_path) -> Path:
    """A copy of the folder of runs, with today's configurations beside them."""
    directory = tmp_path / "runs"
    shutil.copytree(RUNS, directory)
    (directory / "configs").symlink_to(ROOT / "configs")
    return directory


def go_on(directory: Path, name: str, *more: str, code: int = 0) -> subprocess.CompletedProcess:
    """The run's command once more; `more` are further arguments."""
    module, *arguments = COMMANDS[name]
    command = ["-m", f"dreamda_jax.{module}", f"--config=configs/{CONFIG}.py", *arguments, *more]
    done = warm_start.run(
        [sys.executable, *command],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": QUICK},
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def change_settings(run: Path, section: str, name: str) -> None:
    """Takes a field out of a run's config.json, as if it had been begun before there was one."""
    file = run / "config.json"
    content = json.loads(file.read_bytes())
    del content["settings"][section][name]
    file.write_text(json.dumps(content))


def test_a_set_with_a_shard_missing(begun):
    done = go_on(begun, "generate")
    assert "(8 are there already)" in done.stdout
    assert "note      2 shards were finished by 0.1" in done.stdout
    made, expected = (list(dataset.read_records(begun / name)) for name in ("generate", "whole"))
    assert len(made) == 12
    for ours, theirs in zip(made, expected, strict=True):
        assert ours._replace(image=b"") == theirs._replace(image=b"")
        pixels = [
            decode_image(record.image, resolution=8, crop="center").pixels.astype(int)
            for record in (ours, theirs)
        ]
        # Two levels, as other versions of JAX may round otherwise.
        assert np.abs(pixels[0] - pixels[1]).max() <= 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("section", "name"), [("method", "encoder_every"), ("synthesis", "max_seeds")]
)
def test_a_field_that_an_older_run_lacks_is_what_it_did(begun, section, name):
    change_settings(begun / "generate", section, name)
    go_on(begun, "generate", "--dry_run")
    other = go_on(begun, "generate", "--dry_run", f"--config.{section}.{name}=2", code=1)
    assert f"{section}.{name}: " in other.stderr
    assert " here, 2 now" in other.stderr


@pytest.mark.slow
def test_a_default_that_is_not_what_older_runs_did_is_named_with_what_to_do(begun):
    change_settings(begun / "generate", "model", "attention")
    refused = go_on(begun, "generate", "--dry_run", code=1)
    assert 'model.attention: "plain" here, "auto" now' in refused.stderr
    assert "--config.model.attention=plain continues the run" in refused.stderr
    go_on(begun, "generate", "--dry_run", "--config.model.attention=plain")


def test_a_training_with_its_checkpoints(begun):
    before = read_log(begun / "train" / "run-0")
    go_on(begun, "train")
    after = read_log(begun / "train" / "run-0")
    assert after[: len(before)] == before
    assert [row["step"] for row in after if "train/loss" in row] == [1, 2, 3, 4]
    assert len(json.loads((begun / "train" / "results.json").read_bytes())["runs"]) == 1


@pytest.mark.slow
def test_a_self_training_in_its_third_stage(begun):
    run = begun / "amst" / "run-0"
    judged = (run / "round-1" / "verdicts.parquet").read_bytes()
    before = [read_log(run / stage) for stage in ("stage1", "round-1")]
    go_on(begun, "amst")
    assert (run / "round-1" / "verdicts.parquet").read_bytes() == judged
    assert read_log(run / "stage1") == before[0]
    after = read_log(run / "round-1")
    assert after[: len(before[1])] == before[1]
    assert [row["step"] for row in after if "train/loss" in row] == [1, 2, 3, 4]


@pytest.mark.slow
def test_a_fine_tuning(begun):
    before = read_log(begun / "finetune")
    go_on(begun, "finetune")
    after = read_log(begun / "finetune")
    assert after[: len(before)] == before
    assert [row["step"] for row in after if "train/loss" in row] == [1, 2, 3, 4]
    assert list(begun.glob("finetune/*lora*.safetensors"))


def test_a_file_of_descriptions(begun):
    before = (begun / "prompts.jsonl").read_bytes()
    assert "9 descriptions" not in go_on(begun, "prompts").stdout
    after = (begun / "prompts.jsonl").read_bytes()
    assert after.startswith(before)
    assert (before.count(b"\n"), after.count(b"\n")) == (9, 12)


@pytest.mark.slow
def test_a_study(begun):
    done = go_on(begun, "reproduce", "--cells=scale_0")
    for stage in ("generate", "evaluate", "labels"):
        assert f"scale_0: {stage} is done already" in done.stdout
    mark = json.loads((begun / "reproduce/cells/scale_0/finished/labels.json").read_bytes())
    assert mark["command"].startswith("python -m dreamda_jax.reproduce.labels ")


def test_a_study_begun_with_another_configuration_is_made_anew(begun):
    changed = ("--config.evaluate.num_neighbours=4", "--cells=scale_0")
    done = go_on(begun, "reproduce", *changed, "--dry_run")
    assert "scale_0" in done.stdout
    notes = begun / "reproduce" / "cells" / "scale_0" / "finished"
    assert len(list(notes.iterdir())) == 3  # a dry run forgets nothing


# The table of changes.


def fields(config: dict, prefix: str = "") -> dict:
    """By dotted name."""
    found = {}
    for name, value in config.items():
        inner = fields(value, f"{prefix}{name}.") if isinstance(value, dict) and value else None
        found |= inner if inner is not None else {prefix + name: value}
    return found


def test_every_field_that_went_and_every_default_that_changed_has_a_line():
    gone = {change.field for change in CHANGES if isinstance(change, Removed | Renamed)}
    defaults = {change.field for change in CHANGES if isinstance(change, Defaulted)}
    unnamed = set()
    for name, then in json.loads((RUNS / "configs.json").read_bytes()).items():
        file, method = name.split(":")
        module = importlib.import_module(f"configs.{file}")
        now = fields(json.loads(json.dumps(module.get_config(method).to_dict())))
        for field, value in fields(then).items():
            if field not in now and field not in gone:
                unnamed.add(f"{field} is gone (in {name})")
            elif field in now and now[field] != value and field not in defaults:
                unnamed.add(f"{field}: {value} in 0.1, {now[field]} now (in {name})")
    assert not unnamed, "migrations.CHANGES lacks: " + "; ".join(sorted(unnamed))
    assert methods  # imported first: configurations import each other


@pytest.mark.parametrize("page", ["docs/upgrading.md", "CHANGELOG.md"])
def test_every_change_is_said_to_users(page):
    text = (ROOT / page).read_text()
    missing = [change.field for change in CHANGES if f"`{change.field}`" not in text]
    assert not missing, f"{page} lacks {', '.join(missing)}"

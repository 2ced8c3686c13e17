"""Settings of older runs, brought up to today's."""

import json

import pytest

from dreamda_jax.data.files.migrations import (
    Added,
    Defaulted,
    Removed,
    Renamed,
    advice,
    as_today,
    command_today,
)
from dreamda_jax.data.files.run_settings import since_begun
from dreamda_jax.options.synthesis import Synthesis
from dreamda_jax.settings.binding import defaults
from tests.support.paths import ROOT

NOW = {"method": {"name": "dreamda", "strength": 0.8, "kind": "a"}, "image": {"resolution": 8}}


def upgraded(here, *changes, now=NOW, known=None):
    return as_today(here, now, defaults=known or {}, changes=changes)


def test_a_field_that_is_absent_counts_as_its_default():
    here = {"method": {"name": "dreamda", "strength": 0.8}, "image": {"resolution": 8}}
    assert upgraded(here, known={"method": {"kind": "a"}}) == NOW
    assert upgraded(here) == here  # without a default it stays a difference
    assert here["method"].keys() == {"name", "strength"}


def test_the_table_wins_over_the_default():
    here = {"method": {"name": "dreamda", "strength": 0.8}, "image": {"resolution": 8}}
    change = Added("0.2", "method.kind", before="b")
    found = upgraded(here, change, known={"method": {"kind": "a"}})
    assert found["method"]["kind"] == "b"
    said = advice("method.kind", here, changes=[change])
    assert said == ("the default is another since 0.2: --config.method.kind=b continues the run")
    there = {"method": {"kind": "c"}}  # given by the user: no default had to do with it
    assert advice("method.kind", there, changes=[change]) is None


def test_a_field_today_does_not_have_is_not_added():
    here = {"method": {"name": "sdedit"}}
    change = Added("0.2", "method.kind", before="b")
    assert upgraded(here, change, now={"method": {"name": "sdedit"}}) == here


def test_renamed_and_removed():
    here = {
        "method": {"name": "dreamda", "power": 0.8, "kind": "a", "gone": 3},
        "image": {"resolution": 8},
    }
    renamed = Renamed("0.2", "method.power", "method.strength")
    removed = Removed("0.2", "method.gone", goes_on=(3,), advice="Use method.kind.")
    assert upgraded(here, renamed, removed) == NOW
    here["method"]["gone"] = 4
    assert upgraded(here, renamed, removed)["method"]["gone"] == 4
    said = advice("method.gone", here, changes=[removed])
    assert said == "0.2 has no method.gone any more. Use method.kind."


def test_a_new_default_is_named_where_the_old_one_was_not_given():
    change = Defaulted("0.2", "method.strength", before=0.8)
    said = advice("method.strength", {"method": {"strength": 0.8}}, changes=[change])
    assert said is not None
    assert "--config.method.strength=0.8" in said
    assert advice("method.strength", {"method": {"strength": 0.7}}, changes=[change]) is None


def test_a_section_that_is_new_counts_as_its_defaults():
    here = {"method": dict(NOW["method"])}
    assert upgraded(here, known={"image": {"resolution": 8, "crop": "center"}}) == NOW


def test_the_directory_of_another_command_is_not_filled_up():
    trained = {"train": {"num_steps": 3}, "image": {"resolution": 8}}
    assert upgraded(trained, known={"method": {"kind": "a"}}) == trained


def test_a_study_holds_a_whole_configuration():
    here = {"study": "sites", "config": {"method": {"name": "dreamda", "old": 1}}}
    now = {"study": "sites", "config": {"method": {"name": "dreamda", "kind": "a"}}}
    found = upgraded(
        here,
        Removed("0.2", "method.old"),
        now=now,
        known={"config": {"method": {"kind": "a"}}},
    )
    assert found == now


@pytest.mark.parametrize("name", ["max_seeds", "seed", "seeds_per_shard"])
def test_a_run_of_0_1_without_a_field_of_today(name):
    file = ROOT / "tests/support/runs/v0_1/generate/config.json"
    here = json.loads(file.read_bytes())["settings"]
    now = json.loads(file.read_bytes())["settings"]
    now["synthesis"][name] = getattr(Synthesis(), name)
    del here["synthesis"][name]
    known = {"synthesis": defaults(Synthesis)}
    assert since_begun(here, now, defaults=known) == []
    now["synthesis"][name] += 8
    (line,) = since_begun(here, now, defaults=known)
    assert line.startswith(f"synthesis.{name}: ")


def test_a_kernel_that_older_runs_did_not_have():
    here = {"model": {"dtype": "bfloat16"}}
    now = {"model": {"dtype": "bfloat16", "attention": "auto"}}
    (line,) = since_begun(here, now, defaults={"model": {"attention": "auto"}})
    assert line.startswith('model.attention: "plain" here, "auto" now (')
    assert "--config.model.attention=plain continues the run" in line


def test_a_value_that_is_gone_is_named_with_what_to_do():
    here = {"prompts": {"writer": "local", "dtype": "bfloat16"}}
    now = {"prompts": {"writer": "chat"}}
    (line,) = since_begun(here, now, defaults={})
    assert line.startswith(
        'prompts.writer: "local" here, "chat" now (\'local\' is gone since 0.2: '
    )
    assert "OpenAI-compatible endpoint" in line


def test_commands_name_the_modules_of_today():
    old = "python -m dreamda_jax.reproduction.labels set --oracle=sample"
    assert command_today(old) == "python -m dreamda_jax.reproduce.labels set --oracle=sample"
    assert command_today("python -m dreamda_jax.generate x") == "python -m dreamda_jax.generate x"

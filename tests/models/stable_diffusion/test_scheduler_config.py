"""Schedulers' configs of many classes against what diffusers makes of them (schedulers.npz)."""

import json
import typing

import numpy as np
import pytest

from dreamda_jax.algorithms.diffusion.schedule import make_schedule, spaced_timesteps
from dreamda_jax.errors import UserError
from dreamda_jax.models.stable_diffusion import loading, scheduler_config
from dreamda_jax.models.stable_diffusion.checkpoint_files import find_checkpoint
from dreamda_jax.models.stable_diffusion.scheduler_config import (
    SchedulerSettings,
    as_0_1_read,
    as_in_a_pipeline,
    scheduler_settings,
)
from dreamda_jax.options.checkpoints import Model, Scheduler
from dreamda_jax.settings import binding
from tests.reference.make_schedulers import CONFIGS, EVERY, STEPS
from tests.support.paths import REFERENCE


@pytest.fixture(scope="module")
def reference():
    return dict(np.load(REFERENCE / "schedulers.npz"))


def final_alpha(settings: SchedulerSettings) -> float:
    """ᾱ that the last of 25 steps ends at, as a run uses it."""
    numbers = settings._asdict()
    del numbers["prediction_type"]
    schedule = make_schedule(num_inference_steps=STEPS, strength=1.0, eta=0.0, **numbers)
    return float(schedule.previous_level.alpha[-1])


def assert_equal(settings: SchedulerSettings, reference, prefix: str) -> None:
    # diffusers multiplies up to a thousand factors in float32; the cosine schedule's last are 2e-9.
    np.testing.assert_allclose(
        settings.alphas_cumprod()[::EVERY], reference[f"{prefix}_alphas"], rtol=2e-5, atol=1e-9
    )
    ours = spaced_timesteps(
        STEPS, settings.num_train_timesteps, settings.timestep_spacing, settings.steps_offset
    )
    np.testing.assert_array_equal(ours, reference[f"{prefix}_timesteps"])
    assert (settings.prediction_type == "v_prediction") == reference[f"{prefix}_v"]


@pytest.mark.parametrize("name", CONFIGS)
def test_a_pipeline_s_schedule_is_diffusers(reference, name):
    """But where the file has no `set_alpha_to_one`, which is false here and true there."""
    config = CONFIGS[name]
    settings = scheduler_settings(as_in_a_pipeline(config).config)
    assert_equal(settings, reference, f"{name}_pipeline")
    assert not reference[f"{name}_pipeline_clip_sample"]
    theirs = float(reference[f"{name}_pipeline_final_alpha"])
    if "set_alpha_to_one" in config:
        assert final_alpha(settings) == pytest.approx(theirs, rel=1e-6)
    else:
        assert theirs == 1
        assert final_alpha(settings) == pytest.approx(settings.alphas_cumprod()[0], rel=1e-6)
        as_theirs = as_in_a_pipeline(config, {"set_alpha_to_one": True}).config
        assert final_alpha(scheduler_settings(as_theirs)) == 1


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_alone_is_what_from_config_reads(reference, name):
    unclipped = {**CONFIGS[name], "clip_sample": False}
    settings = scheduler_settings(unclipped)
    assert_equal(settings, reference, f"{name}_from_config")
    theirs = float(reference[f"{name}_from_config_final_alpha"])
    assert final_alpha(settings) == pytest.approx(theirs, rel=1e-6)


def test_what_is_corrected_is_said():
    first_months = as_in_a_pipeline(CONFIGS["ddim_of_the_first_months"])
    assert [note.partition(" in ")[0] for note in first_months.notes] == [
        "no clip_sample",
        "no steps_offset",
    ]
    clips, offset = as_in_a_pipeline(CONFIGS["ddim_that_clips"]).notes
    assert clips.startswith("clip_sample=True in scheduler/scheduler_config.json: taken as False")
    assert offset.startswith("steps_offset=0 in scheduler/scheduler_config.json: taken as 1")
    (alpha,) = as_in_a_pipeline(CONFIGS["dpm_solver"]).notes
    assert "--config.model.scheduler.set_alpha_to_one=True if not" in alpha
    for silent in ("pndm_of_sd15", "ddim_trailing_v", "euler", "lcm"):
        assert as_in_a_pipeline(CONFIGS[silent]).notes == []


def test_what_is_given_wins_over_the_file_and_its_correction():
    given = {"steps_offset": 0, "set_alpha_to_one": True, "prediction_type": "v_prediction"}
    reading = as_in_a_pipeline(CONFIGS["lms"], given)
    assert reading.notes == []
    settings = scheduler_settings(reading.config)
    assert settings.steps_offset == 0
    assert settings.set_alpha_to_one
    assert settings.prediction_type == "v_prediction"
    assert settings.beta_start == 0.00085


@pytest.mark.parametrize(
    ("field", "value", "given"),
    [
        ("prediction_type", "sample", "epsilon"),
        ("beta_schedule", "sigmoid", "linear"),
        ("timestep_spacing", "karras", "leading"),
        ("rescale_betas_zero_snr", True, False),
        ("thresholding", True, False),
    ],
)
def test_what_the_file_cannot_have_can_be_given(field, value, given):
    config = {**CONFIGS["pndm_of_sd15"], field: value}
    with pytest.raises(
        UserError, match=rf"{field}={value!r} is not supported.*scheduler\.{field}="
    ):
        scheduler_settings(as_in_a_pipeline(config).config)
    settings = scheduler_settings(as_in_a_pipeline(config, {field: given}).config)
    assert getattr(settings, field, given) == given


def test_the_section_has_every_field_with_the_values_that_are_implemented():
    hints = typing.get_type_hints(Scheduler)
    assert {*SchedulerSettings._fields, "clip_sample", "thresholding"} < set(hints)
    for field, values in scheduler_config._SUPPORTED.items():
        if field != "trained_betas":  # a list of numbers
            literal, _ = typing.get_args(hints[field])
            assert typing.get_args(literal) == values, field
    assert Scheduler().given == {}
    assert Scheduler(steps_offset=0, thresholding=False).given == {
        "steps_offset": 0,
        "thresholding": False,
    }


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("prediction_type", "v", r"must be one of 'epsilon', 'v_prediction' or None, got 'v'"),
        ("clip_sample", True, r"must be one of False or None, got True"),
        ("beta_start", 1.5, r"beta_start must lie between 0 and 1, got 1\.5"),
        ("steps_offset", -1, "steps_offset must not be negative, got -1"),
        ("num_train_timesteps", 1, "num_train_timesteps must be at least 2, got 1"),
        ("steps_offsett", 1, r"unknown config field model\.scheduler\.steps_offsett; did you mean"),
    ],
)
def test_errors_name_field_and_values(field, value, message):
    config = {"model": {"path": "sample", "scheduler": {field: value}}}
    with pytest.raises(UserError, match=message) as caught:
        binding.bind(config, "model", Model)
    assert "model.scheduler" in str(caught.value)
    fine = binding.bind({"model": {"path": "sample", "scheduler": {}}}, "model", Model)
    assert fine.scheduler == Scheduler()


def test_a_checkpoint_is_opened_with_what_is_given(checkpoint):
    file = checkpoint / "scheduler/scheduler_config.json"
    file.write_text(json.dumps(CONFIGS["dpm_solver"]))
    files = find_checkpoint(checkpoint)
    model = loading.open_model(files, scheduler={"prediction_type": "v_prediction"})
    assert model.scheduler == SchedulerSettings(
        *(1000, 0.00085, 0.012, "scaled_linear", 1, False, "leading", "v_prediction")
    )
    (note,) = loading.notes_of(files)
    assert note.startswith("scheduler no set_alpha_to_one in scheduler/scheduler_config.json")


def test_0_1_read_the_file_as_it_is():
    assert as_0_1_read(CONFIGS["lms"])["steps_offset"] == 0
    assert as_0_1_read(CONFIGS["lms"])["set_alpha_to_one"]
    assert as_0_1_read(CONFIGS["ddim_that_clips"]) == {}  # it refused such a file
    assert as_0_1_read(CONFIGS["pndm_of_sd15"]) == (
        scheduler_settings(as_in_a_pipeline(CONFIGS["pndm_of_sd15"]).config)._asdict()
    )


@pytest.mark.parametrize("name", ["FlowMatchEulerDiscreteScheduler", "EDMEulerScheduler"])
def test_schedulers_of_other_models_are_refused(name):
    with pytest.raises(UserError, match=f"_class_name='{name}' is not supported"):
        scheduler_settings({"_class_name": name})

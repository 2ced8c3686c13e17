"""What a run's config.json says of its model, and how an older run's is compared with it."""

import copy
import json
import shutil

import pytest

from configs import fashion
from dreamda_jax.data.files.run_settings import since_begun
from dreamda_jax.generate import build


@pytest.fixture
def config(micro_checkpoint, tmp_path):
    """Of a run on a checkpoint of its own, whose files a test may change."""
    shutil.copytree(micro_checkpoint, tmp_path / "model")
    config = fashion.get_config("sdedit").to_dict()
    config["model"]["path"] = str(tmp_path / "model")
    config["image"]["resolution"] = 8
    config["method"] |= {"num_inference_steps": 5, "strength": 0.6}
    config["output"]["path"] = str(tmp_path / "set")
    return config


def rewrite_scheduler(config, **fields):
    """Sets fields of the checkpoint's scheduler_config.json; None takes one out."""
    file = f"{config['model']['path']}/scheduler/scheduler_config.json"
    with open(file) as stream:
        content = json.load(stream) | fields
    with open(file, "w") as stream:
        json.dump({name: value for name, value in content.items() if value is not None}, stream)


def as_0_1_wrote(settings):
    """0.1 recorded no noise schedule."""
    older = copy.deepcopy(settings)
    del older["model"]["scheduler"]
    return older


def test_the_schedule_that_is_used_is_recorded(config):
    config["model"]["scheduler"]["timestep_spacing"] = "trailing"
    rewrite_scheduler(config, steps_offset=0)
    checked = build.generation(config)
    assert checked.identity.settings["model"] == {
        "revision": None,
        "dtype": "float32",
        "attention": "auto",
        "scheduler": {
            "num_train_timesteps": 1000,
            "beta_start": 0.00085,
            "beta_end": 0.012,
            "beta_schedule": "scaled_linear",
            "steps_offset": 1,
            "set_alpha_to_one": False,
            "timestep_spacing": "trailing",
            "prediction_type": "epsilon",
        },
    }
    assert checked.networks.model.scheduler.timestep_spacing == "trailing"


def test_a_run_of_0_1_goes_on_where_nothing_was_corrected(config):
    identity = build.generation(config).identity
    older = as_0_1_wrote(identity.settings)
    assert since_begun(older, identity.settings, defaults=identity.defaults) == []


@pytest.mark.parametrize(
    ("field", "in_file", "now", "before"),
    [("steps_offset", 0, "1", "0"), ("set_alpha_to_one", None, "false", "True")],
)
def test_a_run_of_0_1_is_not_completed_with_a_corrected_schedule(
    config, field, in_file, now, before
):
    rewrite_scheduler(config, **{field: in_file})
    identity = build.generation(config).identity
    older = as_0_1_wrote(identity.settings)
    (line,) = since_begun(older, identity.settings, defaults=identity.defaults)
    assert line.startswith(f"model.scheduler.{field}: {before.lower()} here, {now} now")
    assert f"--config.model.scheduler.{field}={before} continues the run" in line
    config["model"]["scheduler"][field] = {"0": 0, "True": True}[before]
    identity = build.generation(config).identity
    assert since_begun(older, identity.settings, defaults=identity.defaults) == []


def test_another_schedule_than_a_run_was_begun_with_is_named(config):
    begun = build.generation(config).identity
    config["model"]["scheduler"]["prediction_type"] = "v_prediction"
    identity = build.generation(config).identity
    assert since_begun(begun.settings, identity.settings, defaults=identity.defaults) == [
        'model.scheduler.prediction_type: "epsilon" here, "v_prediction" now'
    ]

"""A plan's programs are those that the jobs run: compared as text, on the devices of the tests."""

import re

import jax
import pytest

from configs import fashion
from dreamda_jax.errors import UserError
from dreamda_jax.finetune import build as finetuning_build
from dreamda_jax.finetune import run as finetuning_run
from dreamda_jax.generate import build, cost
from dreamda_jax.models.stable_diffusion.model import abstract_params
from dreamda_jax.plan.finetune_job import finetune_job
from dreamda_jax.plan.generate_job import _calls, generate_job
from dreamda_jax.plan.train_job import train_job
from dreamda_jax.runtime import devices as meshes
from dreamda_jax.runtime.devices import rows_of_all
from dreamda_jax.synthesis.pipeline import DreamDAPipeline
from dreamda_jax.synthesis.program import INPUTS
from dreamda_jax.train import build as build_training
from dreamda_jax.train.methods import open_programs
from tests.support import small_finetuning, small_training

NONE = {"num_images": None, "num_classes": None}


@pytest.fixture
def config(micro_checkpoint):
    config = fashion.get_config().to_dict()
    config["model"]["path"] = str(micro_checkpoint)
    config["image"]["resolution"] = 8
    config["method"]["num_inference_steps"] = 10
    return config


def program_text(lowered) -> str:
    """Of a lowered program, without its name and without how its arguments are split."""
    text = re.sub(r"module @\w+", "module", lowered.as_text())
    return re.sub(r",? ?\{?sdy\.sharding = #sdy\.sharding<[^>]*>\}?", "", text)


def test_the_synthesis_is_what_the_pipeline_runs(config):
    devices = jax.local_devices()
    job = generate_job(config, devices, **NONE)
    checked = build.generation(config)
    model, making = checked.networks.model, checked.making
    inputs = cost.abstract_inputs(
        *(model, making.method),
        resolution=8,
        num_seeds=3,
        num_variants=making.synthesis.num_variants,
    )
    run = DreamDAPipeline(model).program(making.method)
    arguments = abstract_params(model), rows_of_all(inputs, INPUTS)
    assert program_text(job.program(3).lower()) == program_text(run.lower(*arguments))


def test_a_synthesis_in_numbers(config):
    job = generate_job(config, jax.local_devices(), **NONE)
    assert (job.num_images, job.size, job.divides) == (800, 10, 20)
    # 200 seeds are 10 shards of 20, two groups of 10 each; two devices share them.
    assert job.calls == 10
    program = job.program(5)
    assert program.images == 20
    assert program.flops == pytest.approx(job.program(10).flops / 2)
    assert job.assumed == []


def test_the_busiest_host_and_device_decide_how_long_it_takes():
    # 460 shards on 4 hosts: 115 each, of 8 groups, on 4 devices.
    assert _calls(460, groups_per_shard=8, num_hosts=4, devices_per_host=4) == 230
    # A host more than there are shards does nothing, and three devices cannot share four groups.
    assert _calls(2, groups_per_shard=4, num_hosts=3, devices_per_host=3) == 2


def test_the_fine_tuning_s_step_is_the_job_s(tmp_path, micro_checkpoint):
    for method in ("lora", "textual_inversion"):
        config = small_finetuning.make_config(tmp_path, micro_checkpoint, method=method)
        job = finetune_job(config, jax.local_devices(), **NONE)
        assert (job.size, job.calls, job.num_images) == (2, 4, 16)
        parts = finetuning_build.finetuning(
            config,
            num_devices=jax.device_count(),
            open_networks=finetuning_build.open_checkpoint,
        )
        programs = finetuning_run.open_programs(parts.model, parts.adaptation, parts.job)
        state = programs.state_shapes(abstract_params(parts.model))
        found = jax.tree.leaves(job.program(2).lower().in_avals[0][2])
        assert [(x.shape, x.dtype) for x in found] == [
            (x.shape, x.dtype) for x in jax.tree.leaves(state)
        ], method


def test_the_training_s_step_is_the_job_s(tmp_path):
    config = small_training.make_config(tmp_path)
    job = train_job(config, jax.local_devices(), **NONE)
    assert (job.size, job.calls, job.num_images) == (4, 4, 32)
    setup = build_training.training(config)
    stage = open_programs(setup, meshes.training_mesh(setup.job.fsdp)).main_stage
    arguments = job.program(4).lower().in_avals[0]
    assert program_text(job.program(4).lower()) == program_text(stage.step.lower(*arguments))


@pytest.mark.parametrize("method", ["amst", "softmatch"])
def test_self_training_is_planned_too(tmp_path, method):
    config = small_training.make_config(tmp_path, method=method)
    config["unlabelled"] = {"kind": "folder", "path": config["source"]["path"]}
    config["output"]["path"] = str(tmp_path / "not_made_yet")  # runs/fashion may be there
    job = train_job(config, jax.local_devices(), **NONE)
    assert job.program(4).lower() is not None
    assert job.program(4).flops > 0
    assert (job.extra_flops > 0) == (method == "amst")  # stages 1 and 2
    if method == "amst":
        assert "96 synthetic images" in job.assumed[0]


def test_a_batch_that_devices_cannot_share_is_refused(config, tmp_path):
    devices = jax.local_devices()
    config["finetune"] |= {"batch_size": 6, "accumulation": 2}
    with pytest.raises(UserError, match=r"take a multiple of 4, such as 8"):
        finetune_job(config, devices, **NONE)
    config["train"]["batch_size"] = 7
    with pytest.raises(UserError, match=r"take a multiple of 2, such as 8"):
        train_job(config, devices, **NONE)


@pytest.mark.parametrize("method", ["full", "lora", "textual_inversion"])
def test_a_fine_tuning_of_what_is_not_here_is_planned(config, method):
    config["model"]["path"] = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    config["image"]["resolution"] = 512
    config["source"] = {"kind": "folder", "path": "/nowhere"}
    config["finetune"] |= {"method": method, "num_vectors": 2, "num_samples": 0}
    job = finetune_job(config, jax.local_devices(), num_images=100, num_classes=3)
    assert "Stable Diffusion 1.5" in job.assumed[0]
    assert "100 images of 3 classes, as given" in job.assumed[1]
    trained = {"full": "859.52 M", "lora": "1.59 M", "textual_inversion": "0.00 M"}
    assert f"{trained[method]} parameters" in dict(job.about)["job"]


@pytest.mark.slow
def test_a_split_state_takes_its_share_of_a_device(config):
    config["finetune"]["batch_size"] = 4
    split = finetune_job(config, jax.local_devices(), **NONE)
    config["finetune"]["fsdp"] = 1
    whole = finetune_job(config, jax.local_devices(), **NONE)
    assert 0.5 < split.parameter_bytes / whole.parameter_bytes < 0.6  # small arrays stay whole
    assert split.num_bytes == whole.num_bytes

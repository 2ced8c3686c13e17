"""Programs really compiled for accelerators that are not here: `pytest -m aot -n 0`.

A micro model: the compilers of the vendors take from seconds to a minute for each program.
"""

import importlib.util
import json
import subprocess
import sys

import jax
import pytest

from configs import fashion
from dreamda_jax.models.stable_diffusion import fused_attention
from dreamda_jax.plan import devices, targets
from dreamda_jax.plan.compiling import Compiled, TooLarge, compile_program
from dreamda_jax.plan.finetune_job import finetune_job
from dreamda_jax.plan.generate_job import generate_job
from dreamda_jax.plan.targets import parse_target
from dreamda_jax.plan.train_job import train_job
from dreamda_jax.runtime.chips import CHIPS, chip_of
from tests.support.paths import ROOT
from tests.support.waiting import HANG_GUARD_SECONDS

targets.tell_jax(pretended_devices=0)

pytestmark = pytest.mark.aot
NONE = {"num_images": None, "num_classes": None}
CARDS = [name for name, chip in CHIPS.items() if chip.platform == "cuda"]
TARGETS = pytest.mark.parametrize("name", ["v5e-4", "h100x2"])


def target_devices(name: str) -> list:
    module = {"tpu": "libtpu", "cuda": "jax_cuda12_plugin"}[parse_target(name).chip.platform]
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    return devices.target_devices(parse_target(name))


@pytest.fixture
def config(micro_checkpoint):
    config = fashion.get_config().to_dict()
    config["model"] |= {"path": str(micro_checkpoint), "dtype": "bfloat16"}
    config["image"]["resolution"] = 8
    config["method"]["num_inference_steps"] = 10
    config["finetune"]["batch_size"] = 8
    config["train"]["batch_size"] = 8
    return config


def compiled(job, size: int) -> Compiled:
    found = compile_program(job.program(size).lower, resident=job.resident)
    assert isinstance(found, Compiled)
    return found


@TARGETS
def test_a_synthesis_needs_no_messages_and_more_memory_for_more_seeds(config, name):
    job = generate_job(config, target_devices(name), **NONE)
    small, large = compiled(job, 4), compiled(job, 8)
    for found in (small, large):
        assert found.traffic.collectives == {}
        assert found.traffic.unknown_loops == 0
        assert found.memory.total > job.parameter_bytes
    assert large.memory.temporary > small.memory.temporary
    assert large.traffic.memory_bytes > small.traffic.memory_bytes > 0


@TARGETS
def test_a_fine_tuning_whose_state_is_split_exchanges_it(config, name):
    job = finetune_job(config, target_devices(name), **NONE)
    found = compiled(job, job.size)
    assert "all-gather" in found.traffic.collectives
    assert all(each.times > 0 < each.num_bytes for each in found.traffic.collectives.values())
    assert found.memory.arguments > job.parameter_bytes


@TARGETS
def test_a_training_sums_its_gradients(config, name):
    job = train_job(config, target_devices(name), **NONE)
    found = compiled(job, job.size)
    assert "all-reduce" in found.traffic.collectives
    # Every gradient goes through it once, in float32 or less.
    assert found.traffic.collectives["all-reduce"].num_bytes > job.parameter_bytes / 8


def test_what_does_not_fit_is_found_by_the_compiler():
    (device, *_) = target_devices("v5e-4")
    sharding = jax.sharding.SingleDeviceSharding(device)
    large = jax.ShapeDtypeStruct((200, 1 << 28), "float32", sharding=sharding)
    found = compile_program(lambda: jax.jit(lambda x: x @ x.T).lower(large), resident=0)
    assert isinstance(found, TooLarge)
    assert found.needed == 200 << 30


@pytest.mark.parametrize("name", ["v4-8", "v5p-8", "v6e-1", "v5e-1", "v5e-16", "tpu7x-8"])
def test_every_generation_of_tpus_is_known_to_the_compiler(name):
    target = parse_target(name)
    found = target_devices(name)
    assert len(found) == target.num_devices
    assert chip_of(found[0]) is target.chip


@pytest.mark.parametrize("name", ["v4-8", "v5e-4", "v5p-8", "v6e-4", "tpu7x-8"])
def test_the_memory_of_a_chip_is_what_its_compiler_grants(name):
    (device, *_) = target_devices(name)
    sharding = jax.sharding.SingleDeviceSharding(device)
    large = jax.ShapeDtypeStruct((300, 1 << 28), "float32", sharding=sharding)
    with pytest.raises(Exception, match="RESOURCE_EXHAUSTED") as caught:
        jax.jit(lambda x: x @ x.T).lower(large).compile()
    granted = parse_target(name).chip.memory / 2**30
    assert f"exceeds available HBM ({granted:.2f}".rstrip("0").rstrip(".") in str(caught.value)


@pytest.mark.parametrize("name", CARDS)
def test_every_card_is_known_to_the_compiler(name):
    (device,) = target_devices(name)
    sharding = jax.sharding.SingleDeviceSharding(device)
    matrix = jax.ShapeDtypeStruct((256, 256), "bfloat16", sharding=sharding)
    found = compile_program(lambda: jax.jit(lambda x: x @ x).lower(matrix), resident=0)
    assert found.memory.arguments == 256 * 256 * 2
    assert chip_of(device) is parse_target(name).chip


@pytest.mark.parametrize("name", CARDS)
def test_a_dtype_without_a_rate_is_one_that_the_compiler_converts(name):
    """What `Chip.peak` says of it; with a rate, the product takes bfloat16 as it is."""
    (device,) = target_devices(name)
    sharding = jax.sharding.SingleDeviceSharding(device)
    matrix = jax.ShapeDtypeStruct((1024, 1024), "bfloat16", sharding=sharding)
    text = jax.jit(lambda x: x @ x).lower(matrix).compile().as_text()
    assert ("f32[1024,1024]" in text) == ("bfloat16" not in parse_target(name).chip.flops)


@pytest.mark.parametrize("name", [card for card in CARDS if card not in ("h100", "a100", "h200")])
def test_a_synthesis_is_compiled_for_every_card(config, name):
    job = generate_job(config, target_devices(name), **NONE)
    found = compiled(job, 4)
    assert found.memory.total > job.parameter_bytes
    assert found.traffic.memory_bytes > 0


def test_a_topology_s_devices_say_which_attention_suits_them():
    forms = {
        name: fused_attention.for_device(target_devices(name)[0], "bfloat16") for name in CARDS
    }
    assert forms.pop("t4") == "plain"
    assert set(forms.values()) == {"cudnn"}


@TARGETS
def test_fused_attention_writes_no_scores(name):
    """Self-attention at full size: 4,096 tokens, whose scores are 8 x 4096² of 2 bytes a row."""
    target_devices(name)  # skipped without the compiler
    done = subprocess.run(
        [sys.executable, "benchmarks/attention_forms.py", f"--targets={name}", "--rows=2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=HANG_GUARD_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    plain, fused = figures[f"{name}_2_plain"], figures[f"{name}_2_fused"]
    scores = 2 * 8 * 4096**2 * 2
    assert plain["temporary"] > scores > 2 * fused["temporary"]
    assert plain["moved"] > scores > 2 * fused["moved"]

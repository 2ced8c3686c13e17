"""What the environment tells JAX about random numbers changes nothing that is made."""

import subprocess

import pytest

from tests.support.generate_command import command, contents, environment, generate
from tests.support.paths import ROOT

SETTINGS = (
    {"JAX_DEFAULT_PRNG_IMPL": "rbg", "JAX_NUMPY_RANK_PROMOTION": "raise"},
    {
        "JAX_DEFAULT_PRNG_IMPL": "unsafe_rbg",
        "JAX_THREEFRY_PARTITIONABLE": "0",
        "JAX_RANDOM_SEED_OFFSET": "3",
        "JAX_ENABLE_X64": "1",
        "JAX_NUMPY_DTYPE_PROMOTION": "strict",
    },
)
SMALL = ("--config.synthesis.max_seeds=2", "--config.method.num_inference_steps=3")


@pytest.fixture(scope="module")
def plain(tmp_path_factory, micro_checkpoint):
    directory = tmp_path_factory.mktemp("plain") / "set"
    assert generate(directory, micro_checkpoint, *SMALL).returncode == 0
    return contents(directory)


@pytest.mark.parametrize("exported", SETTINGS, ids=["rbg", "all"])
def test_the_same_bytes(exported, plain, tmp_path, micro_checkpoint):
    run = subprocess.run(
        command(tmp_path / "set", micro_checkpoint, *SMALL),
        cwd=ROOT,
        env=environment(1) | exported,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    for name, value in exported.items():
        shown = {"0": "False", "1": "True"}.get(value, value)
        assert f"{name}={shown} is not followed" in run.stderr, run.stderr
    assert contents(tmp_path / "set") == plain


def test_a_setting_that_jax_does_not_know_is_one_line(tmp_path, micro_checkpoint):
    run = subprocess.run(
        command(tmp_path / "set", micro_checkpoint),
        cwd=ROOT,
        env=environment(1) | {"JAX_DEFAULT_PRNG_IMPL": "mersenne"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1
    assert run.stderr.count("\n") == 1
    assert "mersenne" in run.stderr

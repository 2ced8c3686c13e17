"""Configuration sections become checked objects, or messages a person can act on."""

import dataclasses
import functools
import os
import subprocess
import sys
from typing import Literal

import pytest

from dreamda_jax.errors import UserError
from dreamda_jax.settings import binding
from tests.support.paths import ROOT


@dataclasses.dataclass(frozen=True)
class Options:
    path: str
    scale: float = 3.0
    steps: int = 10
    rule: Literal["official", "asymmetric"] = "official"
    revision: str | None = None

    def __post_init__(self):
        if self.steps < 1:
            raise ValueError("steps must be positive")


def bind(**values):
    return binding.bind({"method": {"path": "x", **values}}, "method", Options)


def test_values_that_fit():
    assert bind(scale=2, revision="main") == Options("x", scale=2, revision="main")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scal": 3.0}, r"unknown config field method.scal; did you mean 'scale'"),
        ({"scale": "3"}, r"method.scale must be float, got '3'"),
        ({"steps": 2.5}, r"method.steps must be int"),
        ({"steps": True}, r"method.steps must be int"),
        ({"rule": "oficial"}, r"method.rule must be one of 'official', 'asymmetric'"),
        ({"revision": 3}, r"method.revision must be str or None"),
        ({"steps": 0}, r"section method: steps must be positive"),
    ],
)
def test_values_that_do_not(values, message):
    with pytest.raises(UserError, match=message):
        bind(**values)


def test_missing_field_and_missing_section():
    with pytest.raises(UserError, match="section method lacks path"):
        binding.bind({"method": {}}, "method", Options)
    with pytest.raises(UserError, match="lacks the section 'method'"):
        binding.bind({}, "method", Options)


def test_a_partial_is_bound_by_what_is_left():
    made = binding.bind({"m": {"scale": 2.0}}, "m", functools.partial(Options, "here"))
    assert made == Options("here", scale=2.0)


def test_misspelt_section_and_value():
    with pytest.raises(UserError, match="did you mean 'method'"):
        binding.check_sections({"metod": {}}, ["model", "method"])
    with pytest.raises(UserError, match=r"unknown value 'dremda' for method\.name; did you mean"):
        binding.choose({"dreamda": None}, "dremda", "method.name")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--config", "configs/fashon.py"], 1, "loaded from configs/fashon.py"),
        (["--config", "configs/fashon.py", "--config.method.eta=1"], 1, "configs/fashon.py"),
        (["--config", "pyproject.toml"], 2, "configuration"),
        ([], 1, "one of caltech101, cars, fashion"),
        (["--config", "configs/fashion.py", "--config.method.noise_scal=1"], 2, "'noise_scale'"),
        (["--config", "configs/fashion.py", "--config.method.noise_scale=big"], 2, "'big'"),
        (["--config", "configs/fashion.py:ddim"], 2, "configuration: unknown method 'ddim' (there"),
        (["--config", "configs/fashion.py:preset=quick"], 2, "unknown preset 'quick' (there are"),
        (["--config", "configs/fashion.py", "stray"], 2, "unexpected argument 'stray'"),
        (["--confg", "configs/fashion.py"], 2, "Did you mean: config"),
    ],
)
def test_flags_that_do_not_parse(arguments, code, message):
    done = subprocess.run(
        [sys.executable, "-m", "dreamda_jax.generate", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr


CONFIGS = sorted({path.name for path in (ROOT / "configs").glob("*.py")} - {"methods.py"})


@pytest.mark.parametrize("config", CONFIGS)
def test_configurations_load_from_any_directory(tmp_path, config):
    # An unknown field is noticed only after the file, and what it imports, was loaded.
    arguments = ["--config", str(ROOT / "configs" / config), "--config.method.nose_scale=1"]
    done = subprocess.run(
        [sys.executable, "-m", "dreamda_jax.generate", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "did you mean 'noise_scale'" in done.stderr


@pytest.mark.parametrize(
    ("job", "variable", "value", "message"),
    [
        ("generate", "JAX_PLATFORMS", "cuda", "devices that JAX_PLATFORMS=cuda asks for"),
        ("train", "JAX_PLATFORMS", "nonsense", "devices that JAX_PLATFORMS=nonsense asks for"),
        ("evaluate", "JAX_PLATFORMS", "rocm", "devices that JAX_PLATFORMS=rocm asks for"),
        ("finetune", "JAX_ENABLE_X64", "maybe", "'maybe' for environment 'JAX_ENABLE_X64'"),
        ("generate", "JAX_NUM_CPU_DEVICES", "x", "JAX flag jax_num_cpu_devices"),
    ],
)
def test_settings_of_jax_that_do_not_work_are_one_line(job, variable, value, message):
    done = subprocess.run(
        [sys.executable, "-m", f"dreamda_jax.{job}", "--config", "configs/fashion.py"],
        cwd=ROOT,
        env={**os.environ, variable: value},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("error: JAX ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr

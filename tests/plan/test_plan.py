"""`python -m dreamda_jax.plan` as a user runs it, on a machine without the vendors' compilers."""

import importlib.util
import os
import re
import subprocess
import sys

import pytest

from tests.support import warm_start
from tests.support.paths import ROOT


def plan(*flags: str, config: str = "configs/fashion.py") -> subprocess.CompletedProcess[str]:
    return warm_start.run(
        [sys.executable, "-m", "dreamda_jax.plan", "--config", config, *flags],
        cwd=ROOT,
        env=os.environ,
    )


def lines(text: str) -> dict[str, str]:
    """By label; of several lines with one label the last."""
    return {line[:12].strip(): line[12:] for line in text.splitlines()}


def test_a_fast_plan_counts_operations_and_money_and_compiles_nothing():
    done = plan("--target=v5e-16", "--fast", "--price_per_hour=2", config="configs/pets.py")
    assert done.returncode == 0, done.stderr
    said = lines(done.stdout)
    assert said["target"].startswith("v5e-16: 16 x TPU v5e")
    assert "110,400 to make" in said["images"]
    assert "it is not here" in said["assumed"]
    assert said["peaks"].startswith("197 TFLOP/s in bfloat16, 197 TFLOP/s in float32, 819 GB/s")
    assert said["peaks"].endswith("(https://cloud.google.com/tpu/docs/v5e)")
    assert "the rest is not known without compiling" in said["memory"]
    # 133.2 TFLOP at 197 TFLOP/s; 460 shards of 8 groups, each 30 images, on 16 devices.
    assert "at least 0.676 s per image and device" in said["roofline"]
    hours = 133.216 / 197 * 30 * 230 / 3600
    least = re.match(r"at least ([\d.]+) h, ([\d.]+) device-hours", said["time"])
    assert float(least[1]) == pytest.approx(hours, rel=5e-3)  # three digits are printed
    assert float(least[2]) == pytest.approx(16 * hours, rel=5e-3)
    price = re.match(r"at least ([\d.]+), about ([\d.]+) at 2 per device", said["price"])
    assert float(price[1]) == pytest.approx(2 * 16 * hours, rel=5e-3)
    assert float(price[2]) == pytest.approx(5 * 16 * hours, rel=5e-3)  # at 40 %
    thousand = re.match(r"at least ([\d.]+), about ([\d.]+) for 1,000 images", said[""])
    assert float(thousand[1]) == pytest.approx(2 * 16 * hours / 110.4, rel=5e-3)
    assert float(thousand[2]) == pytest.approx(5 * 16 * hours / 110.4, rel=5e-3)
    assert "collectives" not in said
    assert "compiled" not in said


@pytest.mark.slow
@pytest.mark.parametrize("job", ["finetune", "train"])
def test_a_fast_plan_of_the_other_jobs(job):
    done = plan("--target=h100x8", "--fast", f"--job={job}")
    assert done.returncode == 0, done.stderr
    said = lines(done.stdout)
    assert said["job"].startswith(job)
    assert "8 x NVIDIA H100" in said["target"]
    assert "600, batches of" in said["steps"]
    assert "images/s per device" in said["rate"]


@pytest.mark.slow
def test_the_cpu_that_is_here_is_a_target_too(micro_checkpoint):
    done = plan(
        *("--target=cpu", f"--config.model.path={micro_checkpoint}", "--nolargest_batch"),
        *("--config.image.resolution=8", "--config.method.num_inference_steps=10"),
    )
    assert done.returncode == 0, done.stderr
    said = lines(done.stdout)
    assert said["fits"].startswith("yes")
    assert "temporary" in said["memory"]
    assert said["collectives"] == "none"
    assert "at full bandwidth, as measured here" in said["roofline"] or (
        "at the peak rate, as measured here" in said["roofline"]
    )
    assert "memory traffic not counted" not in said["roofline"]


def test_the_rates_of_the_cpu_that_is_here_are_measured():
    done = plan("--target=cpu", "--fast")
    assert done.returncode == 0, done.stderr
    said = lines(done.stdout)
    dtype = said["model"].rsplit(", ")[-1]
    found = re.fullmatch(
        rf"([\d.]+) TFLOP/s in {dtype}.*, ([\d.]+) GB/s \(measured here\)", said["peaks"]
    )
    assert float(found[1]) > 0 < float(found[2])
    assert "TFLOP/s in float32" in said["peaks"]
    assert "note" not in said
    assert said["rate"].endswith("for the job, as measured here")
    assert "at the peak rate, as measured here" in said["roofline"]
    assert said["time"].startswith("at least ")


def test_a_card_without_units_for_a_dtype_says_so():
    done = plan("--target=t4", "--fast", "--config.model.dtype=bfloat16")
    assert done.returncode == 0, done.stderr
    said = lines(done.stdout)
    assert said["peaks"].startswith("8.1 TFLOP/s in bfloat16, 65 TFLOP/s in float16")
    assert "no unit of this device multiplies bfloat16" in said["note"]
    assert "TFLOP at 8.1 TFLOP/s" in said["roofline"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--target=v5e-12"], "did you mean 'v5e-8'?"),
        ([], "no target given"),
        (["--target=h100", "--utilization=0", "--fast"], "a share of the roofline above 0"),
        (["--target=h100", "--utilization=nan", "--fast"], "a share of the roofline above 0"),
        (["--target=h100", "--price_per_hour=nan", "--fast"], "a finite number is needed"),
        (
            ["--target=h100x8", "--fast", "--job=finetune", "--config.finetune.batch_size=12"],
            "take a multiple of 8, such as 16",
        ),
        (
            ["--target=h100", "--fast", "--config.source.kind=folder"],
            "--num_images",
        ),
    ],
)
def test_errors_are_a_line_that_says_what_to_do(flags, message):
    done = plan(*flags)
    assert done.returncode == 1, done.stdout
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("target", "module", "extra"),
    [("v5e-4", "libtpu", "tpu"), ("h100", "jax_cuda12_plugin", "cuda12")],
)
def test_a_compiler_that_is_not_installed_is_named_with_its_extra(target, module, extra):
    if importlib.util.find_spec(module):
        pytest.skip(f"{module} is installed here")
    done = plan(f"--target={target}")
    assert done.returncode == 1
    assert f"pip install 'dreamda-jax[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr

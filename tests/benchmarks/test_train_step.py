"""benchmarks/train_step.py at its smallest; nothing timed is compared with anything."""

import json
import subprocess
import sys

import pytest

from tests.support.paths import ROOT
from tests.support.waiting import HANG_GUARD_SECONDS

pytestmark = pytest.mark.slow

SMALLEST = ("--classifiers=resnet_tiny", "--batch_size=2", "--steps=1", "--nowith_torch")
# Multiply-adds of resnet_tiny on 32x32 images by hand, side² · k² · c_in · c_out: the stem's 7x7,
# four 3x3 of the first stage; then per stage one strided, three others, the 1x1 shortcut; the head.
FORWARD = 2 * (
    16**2 * 49 * 3 * 32
    + 8**2 * 9 * 32 * 32 * 4
    + 4**2 * (9 * 32 * 64 + 3 * 9 * 64 * 64 + 32 * 64)
    + 2**2 * (9 * 64 * 128 + 3 * 9 * 128 * 128 + 64 * 128)
    + 128 * 1000
)


def benchmark(*flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "benchmarks/train_step.py", *SMALLEST, *flags]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=HANG_GUARD_SECONDS, check=False
    )


def test_the_smallest_case_prints_a_table_and_a_line_of_json():
    done = benchmark()
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    row = next(line.split() for line in lines if line.startswith("resnet_tiny  "))
    figures = json.loads(lines[-1])
    measured = {
        name.removesuffix("_resnet_tiny"): value
        for name, value in figures.items()
        if name != "peak_tflops"
    }
    assert len(row) == 1 + len(measured)
    assert row[1] == "32" == str(measured["side"])
    assert min(figures["peak_tflops"], measured["images_per_second"]) > 0
    # Six digits are printed.
    assert abs(measured["forward_gflop"] / (FORWARD / 1e9) - 1) < 1e-5
    rate = measured["images_per_second"] * 3 * FORWARD
    assert abs(measured["utilisation"] * figures["peak_tflops"] * 1e12 / rate - 1) < 1e-4
    # XLA leaves out what is multiplied with padding: five ninths of a 3x3 on maps of 2x2.
    assert 0.5 < measured["xla_ratio"] < measured["counted_ratio"] < 1.1
    assert (
        measured["augment_share"] is measured["torch_per_second"] is measured["over_torch"] is None
    )


def test_a_wrong_flag_is_explained():
    done = benchmark("--classifiers=resnet_huge")
    assert done.returncode == 1
    assert "no classifier architecture 'resnet_huge'" in done.stderr
    assert "Traceback" not in done.stderr

    done = benchmark("--batch_size=3")  # conftest.py gives the process two devices
    assert done.returncode == 1
    assert "--batch_size=3 must be a multiple of 2 devices" in done.stderr

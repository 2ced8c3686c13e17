"""benchmarks/accelerator.py at micro size on the CPU; nothing timed is compared with anything."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from benchmarks import accelerator
from benchmarks.accelerator_check import (
    correctness,
    report,
    timing,
    unet_rows,
    weights,
)
from benchmarks.accelerator_check.setup import Setup
from tests.support.paths import ROOT
from tests.support.waiting import HANG_GUARD_SECONDS
from tests.support.xla import QUICK

SCRIPT = "benchmarks/accelerator.py"
MICRO = ("--size=micro", "--allow_cpu", "--minutes=30", "--rows=1,2")
# What sections a to c must do without; the first ones are missing where they travel to.
MISSING = ("grain", "orbax", "tensorflow_datasets", "ml_collections", "optax", "array_record")
ONLY_OTHERS_MAY = ("absl", "PIL", "tqdm")  # flax, transformers and diffusers import them themselves


def make_setup(**changes) -> Setup:
    fields = {
        "size": weights.size_named("micro"),
        "devices": jax.local_devices(),
        "chip": None,
        "memory_limit": None,
        "rows": (1,),
        "dtypes": ("float32",),
        "loop_seconds": 0.001,
    }
    return Setup(**{**fields, **changes})


def run_script(*flags: str, code: str = "", devices: int = 1) -> subprocess.CompletedProcess[str]:
    start_with = ["-c", code] if code else [SCRIPT]
    flag = f"--xla_force_host_platform_device_count={devices} {QUICK}"
    return subprocess.run(
        [sys.executable, *start_with, *flags],
        cwd=ROOT,
        env=os.environ | {"XLA_FLAGS": flag},
        capture_output=True,
        text=True,
        timeout=HANG_GUARD_SECONDS,
        check=False,
    )


def lines_of(text: str) -> dict[str, dict]:
    found = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return {line["section"]: line for line in found}


def flags_of(monkeypatch, *flags: str):
    monkeypatch.setattr(sys, "argv", [SCRIPT, *flags])
    return accelerator._parse_flags()


# Sections.


def test_a_batch_that_does_not_fit_has_a_row_that_says_so(monkeypatch):
    compiles = timing.compile_program

    def refuses(function, *arguments):
        if len(arguments[1]) == 3:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory: 99 GiB.")
        return compiles(function, *arguments)

    monkeypatch.setattr(timing, "compile_program", refuses)
    section = report.Section("c", unet_rows.TITLE)
    setup = make_setup(rows=(1, 3))
    unet_rows.measure(setup, section, timing.Clock(100))
    good, bad = section.rows
    assert bad == {"dtype": "float32", "rows": 3, "note": "out of memory"}
    assert abs(good["rows_per_s"] * good["ms_a_call"] - 1000) < 1e-6
    assert abs(good["tflops"] * 1e12 / good["rows_per_s"] / setup.row_flops - 1) < 1e-9
    assert good["of_product"] * setup.product_rates["float32"] == pytest.approx(
        good["tflops"] * 1e12
    )
    assert good["lowest"] <= good["rows_per_s"] <= good["highest"]
    assert good["compiler_gb"] > 0

    section = report.Section("c", unet_rows.TITLE)
    setup.rows, setup.memory_limit = (1,), 10
    unet_rows.measure(setup, section, timing.Clock(100))
    assert section.rows[0]["note"] == "does not fit into 0.0 GB"
    assert section.rows[0]["compiler_gb"] == good["compiler_gb"]

    section = report.Section("c", unet_rows.TITLE)
    unet_rows.measure(setup, section, timing.Clock(0))
    assert [row["note"] for row in section.rows] == [report.NO_TIME]


def test_a_result_that_is_off_is_a_failure():
    section = report.Section("a", correctness.TITLE)
    section.check("near", 0.1, 0.2)
    section.check("far", 0.3, 0.2)
    section.check("no number", float("nan"), 0.2)
    assert [row["verdict"] for row in section.rows] == ["ok", "FAILED", "FAILED"]
    assert section.failed == ["far: 0.3 is above 0.2", "no number: nan is above 0.2"]
    assert correctness.relative_error([1.0, 1.0], [1.0, 2.0]) == pytest.approx(0.4**0.5 / 2**0.5)


def test_a_failure_leaves_the_other_sections_alone(monkeypatch, capsys, tmp_path):
    def fails(setup, section, clock):
        section.row(what="before")
        raise ValueError("it broke\nat length")

    monkeypatch.setattr(correctness, "measure", fails)
    output = tmp_path / "lines.jsonl"
    flags = flags_of(monkeypatch, "--size=micro", "--sections=a,b", f"--output={output}")
    assert accelerator.run(flags, jax.local_devices()) == 1
    said = capsys.readouterr()
    assert "ValueError: it broke" in said.err
    lines = lines_of(said.out)
    assert lines["a"]["error"] == "ValueError: it broke"
    assert lines["a"]["rows"] == [{"what": "before"}]
    assert "error" not in lines["b"]
    assert min(lines["b"]["product_tflops_bfloat16"], lines["b"]["copy_tb_per_second"]) > 0
    assert lines["b"]["card"] == "cpu"
    assert {"jax", "jaxlib", "flax", "numpy", "python", "driver", "date"} < lines["b"].keys()
    assert lines_of(output.read_text()) == lines


def test_a_section_that_has_no_time_left_is_not_run(monkeypatch, capsys):
    flags = flags_of(monkeypatch, "--size=micro", "--sections=a,b", "--minutes=0")
    assert accelerator.run(flags, jax.local_devices()) == 0
    lines = lines_of(capsys.readouterr().out)
    assert {line["not_run"] for line in lines.values()} == {"no time left"}
    assert lines["b"]["title"] == "ceilings"


def test_a_package_that_is_missing_fails_its_section_only(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "benchmarks.accelerator_check.whole_generate", raising=False)
    monkeypatch.setitem(sys.modules, "ml_collections", None)
    for name in [name for name in sys.modules if name.startswith("dreamda_jax.configs")]:
        monkeypatch.delitem(sys.modules, name)
    flags = flags_of(monkeypatch, "--size=micro", "--sections=d,g")
    assert accelerator.run(flags, jax.local_devices()[:1]) == 1
    lines = lines_of(capsys.readouterr().out)
    assert "ml_collections" in lines["d"]["error"]
    assert lines["g"]["not_run"] == "there is one card"


def test_one_card_is_no_failure_where_several_are_compared(monkeypatch, capsys):
    flags = flags_of(monkeypatch, "--size=micro", "--sections=g")
    assert accelerator.run(flags, jax.local_devices()[:1]) == 0
    assert lines_of(capsys.readouterr().out)["g"]["not_run"] == "there is one card"


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--sections=a,z", "unknown z (there are: a, b, c, d, e, f, g)"),
        ("--dtypes=int8", "unknown int8 (there are: bfloat16, float16, float32)"),
        ("--rows=2,0", "'2,0' is not a list of whole numbers from 1 on"),
        ("--rows=two", "'two' is not a list of whole numbers from 1 on"),
    ],
)
def test_a_wrong_option_is_explained(monkeypatch, capsys, flag, words):
    with pytest.raises(SystemExit) as caught:
        flags_of(monkeypatch, flag)
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


# The whole script.

WITHOUT = f"""
import runpy, sys
from importlib.abc import MetaPathFinder
from pathlib import Path

for name in {MISSING}:
    sys.modules[name] = None  # as if it were not installed

class Refuses(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        frame = sys._getframe(1)
        while frame is not None and "importlib" in frame.f_code.co_filename:
            frame = frame.f_back
        if name in {ONLY_OTHERS_MAY} and frame is not None:
            asker = Path(frame.f_code.co_filename)
            if asker.is_relative_to({str(ROOT)!r}) and ".venv" not in asker.parts:
                raise ImportError(f"{{asker}} imports {{name}}")

sys.meta_path.insert(0, Refuses())
sys.path.insert(0, "benchmarks")
sys.argv[0] = {SCRIPT!r}
runpy.run_path({SCRIPT!r}, run_name="__main__")
"""


@pytest.mark.slow
def test_sections_a_to_c_need_jax_flax_numpy_and_the_networks_classes():
    done = run_script(*MICRO, "--sections=a,b,c", code=WITHOUT)
    assert done.returncode == 0, done.stderr
    lines = lines_of(done.stdout)
    assert list(lines) == ["a", "b", "c"]
    verdicts = [row["verdict"] for row in lines["a"]["rows"]]
    assert len(verdicts) == 18
    assert set(verdicts) == {"ok", "none on a cpu"}
    assert 1 / 3 < lines["a"]["rms_lowest"] < lines["a"]["rms_highest"] < 3
    assert [row["rows"] for row in lines["c"]["rows"]] == [1, 2]
    assert min(row["of_product"] for row in lines["c"]["rows"]) > 0


@pytest.mark.slow
def test_the_other_sections_on_two_devices(tmp_path: Path):
    output = tmp_path / "lines.jsonl"
    done = run_script(*MICRO, "--sections=d,e,g", f"--output={output}", devices=2)
    assert done.returncode == 0, done.stderr
    lines = lines_of(done.stdout)
    assert lines == lines_of(output.read_text())

    made = lines["d"]
    assert made["images"] == 3 * 2 * 5  # batches, devices, variants
    assert made["images_per_second"] > 0
    assert 0 <= made["device_wait_share"] < 1
    shares = [made[f"share_{name}"] for name in ("encode", "invert", "reverse", "decode")]
    assert abs(sum(shares) - 1) < 1e-4
    assert min(shares) > 0

    classifier, finetuning = lines["e"]["rows"]
    assert classifier["what"] == "resnet_tiny, 32 x 32"
    assert finetuning["what"] == "fine-tuning of the U-Net, 32 x 32"
    assert min(classifier["images_per_s"], finetuning["images_per_s"]) > 0

    assert [row["cards"] for row in lines["g"]["rows"]] == [1, 2]
    assert lines["g"]["rows"][0]["of_linear"] == 1


@pytest.mark.parity
def test_pytorch_computes_the_same_and_is_timed():
    done = run_script(*MICRO, "--dtypes=float32", "--sections=f")
    assert done.returncode == 0, done.stderr
    found = lines_of(done.stdout)["f"]
    assert found["rows"][0]["verdict"] == "ok"
    assert found["rows"][0]["value"] < 1e-4
    assert min(found["faster_than_best_torch_1"], found["faster_than_release"]) > 0

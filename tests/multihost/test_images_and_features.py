"""Fine-tuning and evaluation over processes that share one cache: what one process makes."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from dreamda_jax.runtime.log import read_log
from tests.multihost.processes import ROOT, environment, finish, module, start, write_config
from tests.support import small_finetuning, small_training

pytestmark = pytest.mark.multihost


def alone(line: list[str]) -> None:
    """One process with as many devices as two others have together."""
    done = subprocess.run(line, cwd=ROOT, env=environment(2), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def caches(directory: Path) -> list[bytes]:
    """The rows of every store, in the order of their names."""
    files = sorted(directory.rglob("*.npy"))
    assert files
    return [file.read_bytes() for file in files]


def test_two_processes_finetune_as_one(tmp_path, micro_checkpoint):
    logs, weights, latents = [], [], []
    for name in ("one", "two"):
        config = small_finetuning.make_config(
            tmp_path,
            micro_checkpoint,
            output=str(tmp_path / name),
            cache=str(tmp_path / f"{name}_cache"),
            num_samples=3,
            flip=True,
        )
        config["loader"]["num_workers"] = 0
        (tmp_path / "images" / "bag" / "broken.png").write_bytes(b"no image")
        line = module("finetune", "--config", str(write_config(tmp_path / f"{name}.py", config)))
        if name == "one":
            alone(line)
        else:
            done = finish(start(line, count=2))
            assert [code for code, _ in done] == [0, 0], done
            assert "1 of 13 images cannot be decoded: bag/broken.png" in done[0][1]
        logs.append([row["train/loss"] for row in read_log(tmp_path / name)])
        weights.append(load_file(tmp_path / name / "unet/diffusion_pytorch_model.safetensors"))
        latents.append(caches(tmp_path / f"{name}_cache"))
        assert sorted(path.name for path in (tmp_path / name / "samples").iterdir()) == [
            *("step-000000.png", "step-000002.png", "step-000004.png")
        ]
    # Each image is encoded on one device, whichever process has it.
    assert latents[0] == latents[1]
    # Sums over devices are taken by another library; Adam makes whole steps of rounding where a
    # gradient is nothing else, in the few parameters that others take off again.
    np.testing.assert_allclose(logs[1], logs[0], rtol=1e-3)
    moved = np.concatenate(
        [np.abs(weights[0][name] - weights[1][name]).ravel() for name in weights[0]]
    )
    assert np.mean(moved > 1e-4) < 0.03


def test_two_processes_evaluate_as_one(tmp_path):
    reports = []
    for name in ("one", "two"):
        config = small_training.make_config(tmp_path)
        made = tmp_path / "made"
        if not made.exists():
            small_training.make_synthetic(made, seeds=6, pixels=small_training.garment)
        config["output"]["path"] = str(made)
        config["evaluate"] |= {
            "cache": str(tmp_path / f"{name}_cache"),
            "output": str(tmp_path / f"{name}_report"),
            "batch_size": 4,
            "num_neighbours": 3,
        }
        config["loader"]["num_workers"] = 0
        line = module("evaluate", "--config", str(write_config(tmp_path / f"{name}.py", config)))
        if name == "one":
            alone(line)
        else:
            done = finish(start(line, count=2))
            assert [code for code, _ in done] == [0, 0], done
        reports.append(json.loads((tmp_path / f"{name}_report" / "report.json").read_bytes()))
    one, two = ({row["name"]: row["value"] for row in report["metrics"]} for report in reports)
    assert two == pytest.approx(one, rel=1e-6)
    assert reports[0]["per_class"] == reports[1]["per_class"]
    assert reports[0]["copies"] == reports[1]["copies"]


def test_processes_that_do_not_share_their_output_are_told(tmp_path, micro_checkpoint):
    config = small_finetuning.make_config(tmp_path, micro_checkpoint, output="relative")
    line = module("finetune", "--config", str(write_config(tmp_path / "config.py", config)))
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    places = [tmp_path / "here", tmp_path / "there"]
    done = finish(start(line, count=2, directories=places))
    assert [code for code, _ in done] == [1, 1]
    assert all("is not the same directory on all 2 processes" in printed for _, printed in done)

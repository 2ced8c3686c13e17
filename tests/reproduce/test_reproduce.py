"""`python -m dreamda_jax.reproduce` as a user runs it: whole processes on a micro model."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from dreamda_jax.synthesis.registry import METHODS
from tests.support import warm_start
from tests.support.paths import ROOT
from tests.support.waiting import HANG_GUARD_SECONDS, wait_until
from tests.support.xla import QUICK

SEEDS, VARIANTS = 4, 2


def command(output: Path, model: Path, *arguments: str) -> list[str]:
    return [
        *(sys.executable, "-m", "dreamda_jax.reproduce", "--config", "configs/fashion.py"),
        f"--output={output}",
        f"--config.model.path={model}",
        f"--config.evaluate.cache={output.parent / 'features'}",
        *("--config.evaluate.clip=False", "--config.test.split="),
        "--config.image.resolution=8",
        f"--config.synthesis.max_seeds={SEEDS}",
        f"--config.synthesis.num_variants={VARIANTS}",
        *("--config.synthesis.seeds_per_shard=2", "--config.synthesis.seeds_per_device=1"),
        "--config.method.num_inference_steps=10",
        *arguments,
    ]


def options() -> dict:
    flags = f"--xla_force_host_platform_device_count=1 {QUICK}"
    return {"cwd": ROOT, "env": os.environ | {"XLA_FLAGS": flags}}


def reproduce(output: Path, model: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return warm_start.run(command(output, model, *arguments), **options())


@pytest.mark.slow
def test_two_cells_from_flags_to_pictures(tmp_path, micro_checkpoint):
    output, scales = tmp_path / "study", ("--study=scales", "--scales=0,3")
    # Stopped while the first set is being made: the child hears of it and ends.
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    first = subprocess.Popen(command(output, micro_checkpoint, *scales), **pipes, **options())
    log = output / "cells" / "scale_0" / "generate.log"
    wait_until(lambda: log.exists() and "U-Net rows" in log.read_text(), first)
    first.send_signal(signal.SIGTERM)
    printed, _ = first.communicate(timeout=HANG_GUARD_SECONDS)
    assert first.returncode == 128 + signal.SIGTERM
    assert "run the same command again to continue" in printed
    if "scale_0: generate done" not in printed:  # as it is when the signal comes late
        assert "scale_0: generate stopped" in printed
        # Its own words, at a clean point or, where compiling took longer than the grace, in work.
        assert "run the same command again to continue" in log.read_text()

    done = reproduce(output, micro_checkpoint, *scales)
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((output / "results.json").read_bytes())
    cells = {row["name"]: row for row in results["cells"]}
    assert list(cells) == ["scale_0", "scale_3"]
    for row in cells.values():
        assert row["images"] == SEEDS * VARIANTS
        assert row["metrics"]["fid"]["value"] > 0
        assert 0 <= row["labels"]["share"] <= 1
        assert row["set"]["unet_rows_per_image"] > 1
        assert "accuracy" not in row
    # Without perturbation the variants of a seed are the same image.
    assert cells["scale_0"]["diversity"] < 1e-3 < cells["scale_3"]["diversity"]
    page = (output / "results.md").read_text()
    assert page.count("python -m dreamda_jax.generate --config configs/fashion.py") == 2
    assert "| scale_3 | 3 | 8 |" in page
    for name in ("contact_sheet.png", "noise_scale.png"):
        assert f"![{name}]({name})" in page
        with Image.open(output / name) as picture:
            assert picture.width > 500
    assert [line.split()[:3] for line in done.stdout.splitlines() if line.startswith("scale_")] == [
        ["scale_0", "0", "8"],
        ["scale_3", "3", "8"],
    ]

    again = reproduce(output, micro_checkpoint, *scales)
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.count("is done already") == 2 * 3
    assert json.loads((output / "results.json").read_bytes())["cells"] == results["cells"]


def test_a_cell_that_fails(tmp_path, micro_checkpoint):
    """Eq. 6 as printed has no meaning for a perturbed latent; the command says so."""
    output = tmp_path / "study"
    done = reproduce(
        output,
        micro_checkpoint,
        *("--study=sites", "--sites=x_0", "--config.method.update_rule=asymmetric"),
    )
    assert done.returncode == 1
    assert "x_0: generate FAILED, exit code 1" in done.stdout
    assert "needs a site inside the U-Net" in done.stdout
    (row,) = json.loads((output / "results.json").read_bytes())["cells"]
    assert "needs a site inside the U-Net" in row["failed"]["generate"]["last_lines"][-1]
    assert "x_0 (generate failed)" in (output / "results.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no study given"),
        (("--study=sites", "--sites=neck"), "this network has bottleneck, encoder_0"),
        (("--study=scales", "--cells=scale_7"), "did you mean 'scale_"),
    ],
)
def test_flags_that_do_not_fit_make_nothing(tmp_path, micro_checkpoint, arguments, message):
    done = reproduce(tmp_path / "study", micro_checkpoint, *arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert not (tmp_path / "study").exists()


def test_a_dry_run_prints_commands(tmp_path, micro_checkpoint):
    done = reproduce(
        tmp_path / "study",
        micro_checkpoint,
        *("--study=scales", "--scales=1", "--dry_run", "--config.method.noise_scale", "7"),
    )
    assert done.returncode == 0, done.stderr
    (generate,) = [line for line in done.stdout.splitlines() if "dreamda_jax.generate" in line]
    user = generate.index("--config.method.noise_scale 7")
    assert user < generate.index("--config.method.noise_scale=1")
    assert "images      8 (sets: 1; seeds: 4; variants of each: 2)" in done.stdout
    assert not (tmp_path / "study").exists()


def test_methods_are_given_with_the_file(tmp_path, micro_checkpoint):
    done = reproduce(tmp_path / "study", micro_checkpoint, "--study=methods", "--dry_run")
    assert done.returncode == 0, done.stderr
    made = [line.split() for line in done.stdout.splitlines() if "dreamda_jax.generate" in line]
    files = [line[line.index("--config") + 1] for line in made]
    assert files[0] == "configs/fashion.py"
    assert "configs/fashion.py:sdedit" in files
    assert len(set(files)) == len(files) == len(METHODS)

    own = tmp_path / "own.py"  # which takes no method after a colon
    own.write_text(
        "from configs import fashion\ndef get_config():\n  return fashion.get_config()\n"
    )
    arguments = command(tmp_path / "study", micro_checkpoint, "--study=methods", "--dry_run")
    arguments[arguments.index("configs/fashion.py")] = str(own)
    done = warm_start.run(arguments, **options())
    assert done.returncode == 1
    assert f"{own}:" in done.stderr
    assert "takes no such method" in done.stderr

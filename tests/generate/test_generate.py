"""`python -m dreamda_jax.generate` as a user runs it: whole processes on a micro model."""

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dreamda_jax.data.sets import dataset, production_log
from tests.support.generate_command import (
    SEEDS,
    SEEDS_PER_SHARD,
    VARIANTS,
    command,
    contents,
    environment,
    generate,
    markers,
    wait_for_markers,
)
from tests.support.paths import ROOT


@pytest.fixture(scope="module")
def reference(tmp_path_factory, micro_checkpoint) -> Path:
    """An uninterrupted run on one device."""
    directory = tmp_path_factory.mktemp("reference") / "set"
    done = generate(directory, micro_checkpoint)
    assert done.returncode == 0, done.stderr
    assert "U-Net rows" in done.stdout
    assert "images/s" in done.stderr
    assert f"done      {SEEDS * VARIANTS} images" in done.stdout
    return directory


def test_the_set_is_complete_and_readable(reference):
    made = list(dataset.read_records(reference))
    assert [(r.seed_id, r.variant) for r in made] == [
        (seed, variant) for seed in range(SEEDS) for variant in range(VARIANTS)
    ]
    assert len({r.image for r in made}) == len(made)  # every image has its own noise
    assert {r.prompt for r in made} >= {f"a photo of a {made[0].label_name}"}
    with Image.open(reference / "contact_sheet.png") as sheet:
        assert sheet.width > 400
    (session,) = production_log.read_sessions(reference)
    assert (session["images"], session["devices"]) == (SEEDS * VARIANTS, "1 x cpu")
    assert session["flops_per_image"] > 1e6


def test_eight_devices_make_the_same_bytes(reference, tmp_path, micro_checkpoint):
    done = generate(tmp_path / "set", micro_checkpoint, devices=8)
    assert done.returncode == 0, done.stderr
    assert "8 x cpu" in done.stdout
    assert contents(tmp_path / "set") == contents(reference)


@pytest.mark.slow
def test_killed_five_times_the_set_is_the_same(reference, tmp_path, micro_checkpoint):
    directory, rng = tmp_path / "set", random.Random(0)
    killed = 0
    while killed < 5:
        process = subprocess.Popen(
            command(directory, micro_checkpoint),
            cwd=ROOT,
            env=environment(1),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for_markers(process, directory, markers(directory) + 1)
        time.sleep(rng.uniform(0, 0.05))
        process.kill()
        killed += process.wait() == -signal.SIGKILL
        assert not (directory / "dataset_info.json").exists()  # metadata comes last
    done = generate(directory, micro_checkpoint)
    assert done.returncode == 0, done.stderr
    assert contents(directory) == contents(reference)


@pytest.mark.slow
def test_sigterm_a_second_start_and_damage(reference, tmp_path, micro_checkpoint):
    directory = tmp_path / "set"
    first = subprocess.Popen(
        command(directory, micro_checkpoint),
        cwd=ROOT,
        env=environment(1),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for_markers(first, directory, 3)
    first.send_signal(signal.SIGSTOP)  # hold it there while another is started by mistake
    second = generate(directory, micro_checkpoint)
    first.send_signal(signal.SIGCONT)
    first.send_signal(signal.SIGTERM)
    out, _ = first.communicate(timeout=60)
    assert second.returncode == 1
    assert "another process" in second.stderr.lower() or "in use" in second.stderr.lower()
    assert first.returncode == 128 + signal.SIGTERM
    assert "run the same command again to continue" in out
    assert 2 < markers(directory) < SEEDS // SEEDS_PER_SHARD

    # A flipped bit and a truncated file are found, and nothing but what is missing is made.
    flipped, truncated, *good = sorted(directory.glob("*.array_record*"))
    data = bytearray(flipped.read_bytes())
    data[len(data) // 3] ^= 1
    flipped.write_bytes(data)
    os.truncate(truncated, 1000)
    before = [path.stat().st_mtime_ns for path in good]
    mended = generate(directory, micro_checkpoint)
    assert mended.returncode == 0, mended.stderr
    assert f"{flipped.name} is made again: its checksum differs" in mended.stdout
    assert f"{truncated.name} is made again: it has 1,000 bytes" in mended.stdout
    assert [path.stat().st_mtime_ns for path in good] == before
    assert contents(directory) == contents(reference)


def test_nothing_left_and_a_changed_configuration(reference, micro_checkpoint):
    again = generate(reference, micro_checkpoint)
    assert again.returncode == 0
    assert "nothing left to do" in again.stdout
    changed = generate(reference, micro_checkpoint, "--config.method.noise_scale=5.0")
    assert changed.returncode == 1
    assert "noise_scale" in changed.stderr
    assert "3.0" in changed.stderr
    assert "5.0" in changed.stderr


def test_own_images_some_of_them_broken(tmp_path, micro_checkpoint):
    images = tmp_path / "images"
    rng = np.random.default_rng(0)
    for name in ("ginger cat", "hund"):
        (images / name).mkdir(parents=True)
        for i in range(3):
            pixels = rng.integers(0, 255, (20, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(images / name / f"{i}.png")
    whole = (images / "hund" / "1.png").read_bytes()
    (images / "hund" / "1.png").write_bytes(whole[: len(whole) // 2])
    (images / "hund" / "2.png").write_bytes(b"")
    (images / "hund" / "notes.txt").write_text("not an image")
    overrides = (
        f"--config.source.path={images}",
        *("--config.model.dtype=float32", "--config.method.variants_per_pass=0"),
        *("--config.method.guidance_scale=3.0", "--config.loader.num_workers=0"),
    )
    done = generate(tmp_path / "set", micro_checkpoint, *overrides, config="configs/folder.py")
    assert done.returncode == 0, done.stderr
    assert "skipped   2 seed images" in done.stdout
    assert "ignored   1 files that are no images: 'hund/notes.txt'" in done.stdout
    skipped = [
        json.loads(line) for line in (tmp_path / "set" / "skipped.jsonl").read_text().splitlines()
    ]
    assert [(entry["name"], entry["reason"]) for entry in skipped] == [
        ("hund/1.png", "truncated"),
        ("hund/2.png", "empty file"),
    ]
    made = list(dataset.read_records(tmp_path / "set"))
    assert {r.prompt for r in made} == {"A photo of a ginger cat", "A photo of a hund"}
    assert len(made) == 4 * VARIANTS

    for path in images.rglob("*.png"):
        path.write_bytes(b"")
    nothing = generate(
        tmp_path / "nothing", micro_checkpoint, *overrides, config="configs/folder.py"
    )
    assert nothing.returncode == 1
    assert "all 6 seed images were skipped" in nothing.stderr


def test_dry_run_makes_nothing(tmp_path, micro_checkpoint):
    done = generate(tmp_path / "set", micro_checkpoint, "--dry_run")
    assert done.returncode == 0, done.stderr
    assert "TFLOP per image" in done.stdout
    assert not (tmp_path / "set").exists()

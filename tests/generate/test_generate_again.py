"""The same command once more: images that can be read now, the contact sheet, a read-only disk."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dreamda_jax.data.sets import dataset
from tests.support.generate_command import command, contents, environment, generate
from tests.support.paths import ROOT
from tests.support.read_only_disk import needs_root, read_only_disk

VARIANTS = 2
SHEET = "contact_sheet.png"


def make_images(directory: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (directory / name).mkdir(parents=True)
        for i in range(4):
            pixels = rng.integers(0, 255, (20, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(directory / name / f"{i}.png")
    return directory


def options(images: Path) -> tuple[str, ...]:
    return (
        *(f"--config.source.path={images}", "--config.model.dtype=float32"),
        *("--config.method.variants_per_pass=0", "--config.method.guidance_scale=3.0"),
        *("--config.loader.num_workers=0", "--config.synthesis.max_seeds=0"),
    )


def start(output: Path, model: Path, images: Path, *more: str) -> subprocess.CompletedProcess:
    return generate(output, model, *options(images), *more, config="configs/folder.py")


@pytest.fixture(scope="module")
def twice(tmp_path_factory, micro_checkpoint):
    """A run with two images missing, and the same once they are there."""
    directory = tmp_path_factory.mktemp("again")
    images = make_images(directory / "images")
    aside = directory / "aside"
    aside.mkdir()
    for name in ("cat/0.png", "dog/2.png"):
        target = aside / name.replace("/", "-")
        (images / name).rename(target)
        (images / name).symlink_to(target)
        target.rename(target.with_suffix(".away"))
    first = start(directory / "set", micro_checkpoint, images)
    kept = (directory / "set" / SHEET).read_bytes()
    for target in aside.iterdir():
        target.rename(target.with_suffix(".png"))
    second = start(directory / "set", micro_checkpoint, images)
    return directory, first, second, kept


def test_what_was_skipped_is_counted_apart(twice):
    _, first, _, _ = twice
    assert first.returncode == 0, first.stderr
    assert "skipped   2 seed images" in first.stdout
    assert f"{6 * VARIANTS}/{8 * VARIANTS} images, {2 * VARIANTS} skipped" in first.stderr
    assert f"{8 * VARIANTS}/{8 * VARIANTS}" not in first.stderr


def test_what_can_be_read_now_is_made(twice):
    directory, _, second, _ = twice
    assert second.returncode == 0, second.stderr
    assert "is made again: cat/0.png, skipped before, can be read now" in second.stdout
    assert "is made again: dog/2.png, skipped before" in second.stdout
    # Two shards of two seed images are made again, of which one each had been made.
    assert f"images    {4 * VARIANTS} to make" in second.stdout
    assert f"({4 * VARIANTS} are there already)" in second.stdout
    assert f"done      {8 * VARIANTS} images" in second.stdout
    assert "skipped   " not in second.stdout
    made = list(dataset.read_records(directory / "set"))
    assert [record.seed_name for record in made[::VARIANTS]] == [
        f"{name}/{i}.png" for name in ("cat", "dog") for i in range(4)
    ]


def test_the_sheet_is_what_the_shards_say(twice, micro_checkpoint):
    directory, _, _, kept = twice
    sheet = directory / "set" / SHEET
    whole = sheet.read_bytes()
    assert whole != kept  # the first cat is another one now
    before = contents(directory / "set")
    for damage in (
        lambda: sheet.unlink(),
        lambda: sheet.write_bytes(whole[: len(whole) // 2]),
        lambda: sheet.write_bytes(kept),
    ):
        damage()
        again = start(directory / "set", micro_checkpoint, directory / "images")
        assert again.returncode == 0, again.stderr
        assert "nothing left to do" in again.stdout
        assert f"look at   {sheet}" in again.stdout
        assert contents(directory / "set") == before


def test_a_class_without_an_image_is_refused_before_anything_is_made(tmp_path, micro_checkpoint):
    images = make_images(tmp_path / "images")
    for file in sorted((images / "dog").iterdir()):
        file.unlink()
        heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
        (images / "dog" / f"{file.stem}.heic.jpg").write_bytes(heic)
    done = start(tmp_path / "set", micro_checkpoint, images, "--dry_run")
    assert done.returncode == 1
    assert "no image of the class 'dog' in the images to expand can be read" in done.stderr
    assert "dog/0.heic.jpg: " in done.stderr
    assert "HEIC" in done.stderr
    assert not (tmp_path / "set").exists()


@needs_root
def test_a_finished_set_on_a_read_only_disk(twice, tmp_path, micro_checkpoint):
    directory, _, _, _ = twice
    with read_only_disk(tmp_path, directory / "set") as writable:
        done = start(tmp_path / "set", micro_checkpoint, directory / "images")
        assert done.returncode == 0, done.stderr
        assert "nothing left to do: every shard is there and undamaged" in done.stdout
        assert f"done      {8 * VARIANTS} images" in done.stdout
        writable(True)
        next((tmp_path / "set" / "done").glob("*-00001-of-*.json")).unlink()
        writable(False)
        unfinished = start(tmp_path / "set", micro_checkpoint, directory / "images")
        assert unfinished.returncode == 1
        assert "cannot be written (Read-only file system)" in unfinished.stderr


def test_a_reader_that_goes_away(tmp_path, micro_checkpoint):
    """As `| head -1` does."""
    process = subprocess.Popen(
        command(tmp_path / "set", micro_checkpoint, "--dry_run"),
        cwd=ROOT,
        env=environment(1),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    error = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait() == 141
    assert "Traceback" not in error
    assert "Exception ignored" not in error


def test_a_set_is_not_completed_from_an_image_that_has_changed(tmp_path, micro_checkpoint):
    images = make_images(tmp_path / "images")
    first = start(tmp_path / "set", micro_checkpoint, images)
    assert first.returncode == 0, first.stderr
    changed = images / "dog" / "1.png"
    kept = changed.read_bytes()
    shutil.copy(images / "dog" / "2.png", changed)  # another picture under the same name
    lost = sorted((tmp_path / "set").glob("*.array_record*"))[-1]
    before = lost.read_bytes()
    lost.unlink()
    refused = start(tmp_path / "set", micro_checkpoint, images)
    assert refused.returncode == 1
    assert "1 of the 8 seed images are not those" in refused.stderr
    assert "'dog/1.png'" in refused.stderr
    assert not lost.exists()
    changed.write_bytes(kept)
    images.rename(tmp_path / "mounted elsewhere")  # where they lie is no setting
    (tmp_path / "elsewhere").mkdir()
    moved = tmp_path / "elsewhere" / "images"
    (tmp_path / "mounted elsewhere").rename(moved)
    again = start(tmp_path / "set", micro_checkpoint, moved)
    assert again.returncode == 0, again.stderr
    assert lost.read_bytes() == before


def test_a_set_is_not_completed_by_a_model_that_has_changed_in_its_middle(
    tmp_path, micro_checkpoint
):
    """Same name and size, other weights two megabytes and more into the file, one shard lost."""
    images = make_images(tmp_path / "images")
    model = shutil.copytree(micro_checkpoint, tmp_path / "model")
    (file,) = (model / "unet").glob("*.safetensors")
    content = file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    padded = content[8 : 8 + length].ljust(3_000_000)  # a header may end in spaces
    file.write_bytes(len(padded).to_bytes(8, "little") + padded + content[8 + length :])
    first = start(tmp_path / "set", model, images)
    assert first.returncode == 0, first.stderr
    lost = sorted((tmp_path / "set").glob("*.array_record*"))[-1]
    before = lost.read_bytes()
    lost.unlink()
    whole = file.read_bytes()
    place = (len(padded) + len(whole)) // 2
    assert place >= 2_000_000
    changed = bytearray(whole)
    changed[place : place + 64] = whole[place - 64 : place]
    assert bytes(changed) != whole
    file.write_bytes(changed)
    refused = start(tmp_path / "set", model, images)
    assert refused.returncode == 1
    assert "was started with other settings" in refused.stderr
    assert "sha256.model_content" in refused.stderr
    assert not lost.exists()
    file.write_bytes(whole)
    again = start(tmp_path / "set", model, images)
    assert again.returncode == 0, again.stderr
    assert lost.read_bytes() == before


def test_images_that_are_nearly_black_are_said_at_the_start_and_at_the_end(
    tmp_path, micro_checkpoint
):
    few = np.linspace(0, 4095, 600).reshape(20, 30).astype(np.uint16)
    images = make_images(tmp_path / "images")
    for file in sorted((images / "dog").iterdir())[:3]:
        Image.fromarray(few).save(file)
    done = start(tmp_path / "dark", micro_checkpoint, images)
    assert done.returncode == 0, done.stderr
    assert "1 of 2 that were looked at of the images to expand use under 1/8" in done.stdout
    assert "such as dog/0.png" in done.stdout
    assert "3 seed images use under 1/8 of their range" in done.stdout
    option = "--config.source.grey_max=4095"
    assert done.stdout.count(option) == 2
    right = start(tmp_path / "bright", micro_checkpoint, images, option)
    assert right.returncode == 0, right.stderr
    assert "under 1/8" not in right.stdout
    other = start(tmp_path / "dark", micro_checkpoint, images, option)
    assert other.returncode == 1
    assert "source.grey_max: null here, 4095.0 now" in other.stderr


def test_the_line_that_a_refusal_gives_can_be_given(tmp_path, micro_checkpoint):
    images = make_images(tmp_path / "images" / "train")
    shutil.copytree(images, images.with_name("test"))
    refused = start(tmp_path / "set", micro_checkpoint, images.parent, "--dry_run")
    assert refused.returncode == 1
    option = "--config.source.classes=sub_folders"
    assert option in refused.stderr
    taken = start(tmp_path / "set", micro_checkpoint, images.parent, "--dry_run", option)
    assert taken.returncode == 0, taken.stderr
    assert "classes   test 8, train 8" in taken.stdout

"""Exports: every format read back with the tools its users have."""

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.json
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dreamda_jax.data.sets import dataset, exporters, records, shards
from dreamda_jax.data.sources.folder import open_folder
from dreamda_jax.data.sources.labels import slug
from dreamda_jax.errors import UserError
from tests.support.paths import ROOT
from tests.support.small_records import make_record

NAMES = ["a/b", "..", "ünï cödé", "with spaces", 'comma, "quote"']


def records_of(image_format: str) -> list[records.Record]:
    return [
        make_record(seed, variant, label_names=NAMES, image_format=image_format)
        for seed in range(7)
        for variant in range(2)
    ]


def make_run(directory: Path, *, image_format="png", finished: bool = True) -> list[records.Record]:
    layout = shards.Layout.for_seeds(directory, name="toy", num_seeds=7, seeds_per_shard=3)
    made = records_of(image_format)
    for shard in range(layout.num_shards if finished else 1):
        part = [record for record in made if record.seed_id in layout.seed_ids(shard)]
        shards.write_shard(layout, shard, part, [])
    if finished:
        dataset.finish(
            layout, label_names=NAMES, image_shape=(16, 16, 3), image_format=image_format
        )
    return made


def run_export(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "dreamda_jax.export", *arguments],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )


def export(to: str, made, output: Path, *, names=NAMES, **options) -> Path:
    with exporters.staged(output, needed=0) as scratch:
        exporters.EXPORTERS[to](
            iter(made), output=scratch, label_names=names, **({"file_bytes": 10**9} | options)
        )
    return output


@pytest.fixture
def made():
    return records_of("png")


@pytest.mark.parametrize("to", ["imagefolder", "webdataset", "parquet"])
def test_command_and_identical_files_when_run_twice(tmp_path, to):
    made = make_run(tmp_path / "run")
    arguments = ("--input", str(tmp_path / "run"), "--to", to, "--output")
    result = run_export(*arguments, str(tmp_path / "out"))
    assert result.returncode == 0, result.stderr
    assert "14 images of 5 classes" in result.stdout
    again = export(to, made, tmp_path / "again")
    files = [
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (tmp_path / "out", again)
    ]
    assert files[0] == files[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "out", "run"]
    if to == "parquet":
        second = run_export(*arguments, str(tmp_path / "out"))
        assert second.returncode == 1
        assert "not empty" in second.stderr


def test_help_and_wrong_flags(tmp_path):
    result = run_export("--help")
    assert result.returncode == 0
    assert "imagefolder" in result.stdout
    assert run_export("--input", "x", "--to", "zip", "--output", "y").returncode == 2


@pytest.mark.parametrize("image_format", ["png", "jpeg"])
def test_imagefolder(tmp_path, image_format):
    made = make_run(tmp_path / "run", image_format=image_format)
    out = export("imagefolder", dataset.read_records(tmp_path / "run"), tmp_path / "out")
    suffix = {"png": "png", "jpeg": "jpg"}[image_format]
    rows = [json.loads(line) for line in (out / "metadata.jsonl").read_bytes().splitlines()]
    assert len(rows) == len(made)
    for row, record in zip(rows, made, strict=True):
        path = out / row["file_name"]
        assert path.name == f"{record.seed_id:06d}_{record.variant:03d}.{suffix}"
        assert path.parent.name == slug(record.label_name)
        assert path.parent.parent == out
        assert path.read_bytes() == record.image
        with Image.open(path) as image:
            assert image.size == (16, 16)
        assert row["label"] == record.label_name
        assert row["label_id"] == record.label
        assert row["prompt"] == record.prompt
        assert int(row["key"], 16) == record.key[0] << 32 | record.key[1]


def test_webdataset(tmp_path, made):
    webdataset = pytest.importorskip("webdataset")
    out = export("webdataset", made, tmp_path / "out", file_bytes=12_000)
    tars = sorted(out.glob("*.tar"))
    assert len(tars) > 2
    assert [path.name for path in tars[:2]] == ["train-000000.tar", "train-000001.tar"]
    for path in tars:
        with tarfile.open(path) as tar:
            members = tar.getmembers()
        assert {member.mtime for member in members} == {0}
        assert sum(512 + -(-member.size // 512) * 512 for member in members) <= 12_000
    assert json.loads((out / "label_names.json").read_bytes()) == NAMES
    samples = list(
        webdataset.WebDataset([str(path) for path in tars], shardshuffle=False).decode("rgb8")
    )
    assert len(samples) == len(made)
    for sample, record in zip(samples, made, strict=True):
        assert sample["__key__"].endswith(f"{record.seed_id:06d}_{record.variant:03d}")
        np.testing.assert_array_equal(sample["png"], records.decode_image(record.image))
        assert sample["cls"] == record.label
        assert sample["json"]["prompt"] == record.prompt
        assert sample["json"]["label_name"] == record.label_name


def test_webdataset_keeps_a_sample_larger_than_the_bound(tmp_path, made):
    out = export("webdataset", made, tmp_path / "out", file_bytes=1)
    assert len(list(out.glob("*.tar"))) == len(made)


def test_parquet(tmp_path, made, monkeypatch):
    monkeypatch.setattr(exporters, "_ROW_GROUP", 3)
    out = export("parquet", made, tmp_path / "out", file_bytes=8 * len(made[0].image))
    files = sorted((out / "data").iterdir())
    count = len(files)
    assert count > 1
    assert files[0].name == f"train-00000-of-{count:05d}.parquet"
    rows = [row for path in files for row in pq.read_table(path).to_pylist()]
    for row, record in zip(rows, made, strict=True):
        assert row["image"]["bytes"] == record.image
        with Image.open(io.BytesIO(row["image"]["bytes"])) as image:
            assert image.size == (16, 16)
        assert (row["label"], row["label_name"]) == (record.label, record.label_name)
        assert (row["seed_id"], row["variant"]) == (record.seed_id, record.variant)
        assert row["prompt"] == record.prompt
    described = pq.ParquetFile(files[0])
    assert described.metadata.row_group(0).num_rows == 3
    info = json.loads(described.schema_arrow.metadata[b"huggingface"])["info"]["features"]
    assert info["image"] == {"_type": "Image"}
    assert info["label"] == {"_type": "ClassLabel", "names": NAMES}
    assert set(info) == set(described.schema_arrow.names)


# What readers of tables take for no value, a number, a truth value, a line's end or a separator.
# Read by `datasets` 5.2 too (imagefolder, webdataset, parquet), with the same result.
TRICKY = [
    "NA",
    "None",
    "nan",
    "007",
    "True",
    "cat",
    "null",
    "1e3",
    "carriage\rreturn",
    'q"u,o;t\te',
]


@pytest.mark.parametrize("names", [TRICKY, ["007", "010"], ["NA", "null"], ["True", "False"]])
def test_class_names_that_look_like_something_else_stay_names(tmp_path, names):
    made = [make_record(seed, 0, label_names=names) for seed in range(2 * len(names))]
    expected = [record.label_name for record in made]
    out = {to: export(to, made, tmp_path / to, names=names) for to in exporters.EXPORTERS}

    # As Hugging Face's imagefolder reads it.
    table = pyarrow.json.read_json(out["imagefolder"] / "metadata.jsonl")
    assert pa.types.is_string(table["label"].type)
    assert table["label"].to_pylist() == expected
    source = open_folder(out["imagefolder"])
    assert {source.label_names[source[i].label] for i in range(len(source))} == set(names)

    (part,) = (out["parquet"] / "data").iterdir()
    read = pq.read_table(part)
    assert read["label_name"].to_pylist() == expected
    assert read["label"].to_pylist() == [record.label for record in made]
    listed = json.loads(read.schema.metadata[b"huggingface"])["info"]["features"]["label"]["names"]
    assert listed == names

    (tar,) = out["webdataset"].glob("*.tar")
    with tarfile.open(tar) as file:
        rows = b"".join(
            file.extractfile(member).read() for member in file if member.name.endswith(".json")
        )
    column = pyarrow.json.read_json(io.BytesIO(rows))["label_name"]
    assert pa.types.is_string(column.type)
    assert column.to_pylist() == expected
    assert json.loads((out["webdataset"] / "label_names.json").read_bytes()) == names


def test_class_names_that_are_dates_are_told_apart():
    names = ["2024-01-01", "cat", "007", "2024-01-01 10:00:00", "2024"]
    assert exporters.names_read_as_times(names) == ["2024-01-01", "2024-01-01 10:00:00"]


def test_incomplete_or_damaged_input_is_refused(tmp_path):
    make_run(tmp_path, finished=False)
    with pytest.raises(UserError, match=r"2 of 3 shards are missing.*dreamda_jax\.generate"):
        dataset.open_finished(tmp_path)
    make_run(tmp_path)
    assert dataset.open_finished(tmp_path).num_records == 14
    path = dataset.read_layout(tmp_path).path(2)
    data = bytearray(path.read_bytes())
    data[70_000] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="checksum differs"):
        dataset.open_finished(tmp_path)
    make_run(tmp_path)
    (tmp_path / "dataset_info.json").unlink()
    with pytest.raises(UserError, match="not the metadata"):
        dataset.open_finished(tmp_path)


def test_colliding_class_names_and_taken_outputs_are_refused(tmp_path, made):
    with (
        pytest.raises(UserError, match="collide"),
        exporters.staged(tmp_path / "out", needed=0) as scratch,
    ):
        exporters.write_imagefolder(
            made, output=scratch, label_names=["a b", "a/b", "c", "d", "e"], file_bytes=1
        )
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("x")
    for taken in (tmp_path, tmp_path / "file"):
        with pytest.raises(UserError, match="not empty"):
            export("webdataset", made, taken)
    with pytest.raises(UserError, match="cannot be written"):
        export("webdataset", made, tmp_path / "file" / "below")
    (tmp_path / "empty").mkdir()
    export("webdataset", made, tmp_path / "empty")


def test_a_failed_export_leaves_nothing(tmp_path, made):
    def broken():
        yield from made[:3]
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="No space left"):
        export("parquet", broken(), tmp_path / "out")
    assert not list(tmp_path.iterdir())

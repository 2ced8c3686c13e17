"""A finished set, read by us and by TFDS without us."""

import os
import subprocess
import sys
import textwrap

import pytest

from dreamda_jax.data.sets import dataset, records, shards
from dreamda_jax.data.sets.shards import Skipped
from dreamda_jax.errors import UserError
from tests.support.small_records import NAMES, finish, make_records, new_layout


@pytest.mark.parametrize("image_format", ["png", "jpeg"])
def test_tfds_reads_it_without_this_package_and_without_tensorflow(tmp_path, image_format):
    layout = new_layout(tmp_path / "run")
    for shard in range(layout.num_shards):
        made = make_records(layout.seed_ids(shard), image_format=image_format)
        skipped = [Skipped(seed, "x.jpg", "truncated") for seed in layout.seed_ids(shard)]
        # A shard in the middle without any record: TFDS has to step over it.
        shards.write_shard(layout, shard, *(([], skipped) if shard == 1 else (made, [])))
    assert finish(layout, image_format)[:2] == (6, 2)
    script = """
        import sys
        sys.modules["dreamda_jax"] = None  # importing it now fails
        import numpy as np
        import tensorflow_datasets as tfds
        builder = tfds.builder_from_directory(sys.argv[1])
        source = builder.as_data_source()["train"]
        print(len(source), builder.info.features["label"].names)
        for i in range(len(source)):
            e = source[i]
            assert e["image"].dtype == np.uint8 and e["image"].shape == (16, 16, 3)
            assert e["key"].dtype == np.uint32
            print(e["seed_id"], e["variant"], e["label"], e["label_name"].decode().encode(),
                  e["key"].tolist(), e["seed_name"].decode(), e["method"].decode(),
                  int(e["image"].sum()))
        assert not {"tensorflow", "jax"} & set(sys.modules)
    """
    out = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(layout.directory)],
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.splitlines()
    stored = ["a/b", "..", "ünï cödé", "spaces around", "two lines"]
    assert out[0] == f"6 {stored}"
    expected = [
        f"{r.seed_id} {r.variant} {r.label} {r.label_name.encode()} {list(r.key)} {r.seed_name} "
        f"dreamda {int(records.decode_image(r.image).sum())}"
        for r in make_records([0, 1, 4], image_format=image_format)
    ]
    assert out[1:] == expected
    assert (layout.directory / "skipped.jsonl").read_text().splitlines() == [
        '{"name": "x.jpg", "reason": "truncated", "seed_id": 2}',
        '{"name": "x.jpg", "reason": "truncated", "seed_id": 3}',
    ]


def test_reading_back(complete):
    assert list(dataset.read_records(complete.directory)) == make_records(range(5))
    assert dataset.read_layout(complete.directory) == complete
    found = dataset.open_finished(complete.directory)
    assert found.num_records == 10
    assert found.image_format == "png"
    assert found.label_names[:3] == NAMES[:3]


def test_nothing_made_at_all(tmp_path):
    layout = new_layout(tmp_path, num_seeds=1)
    with pytest.raises(UserError, match="holds no synthetic data set"):
        dataset.read_layout(tmp_path)
    shards.write_shard(layout, 0, [], [Skipped(0, "a.jpg", "empty file")])
    with pytest.raises(UserError, match="all 1 seed images were skipped"):
        finish(layout)
    assert "empty file" in (tmp_path / "skipped.jsonl").read_text()

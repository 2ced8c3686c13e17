"""Verdicts as parquet: exact round trip, what an edit does to them, and damaged files."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dreamda_jax.data.files import atomic
from dreamda_jax.data.sets.verdicts import Verdicts, concatenate, read_verdicts, write_verdicts
from dreamda_jax.errors import UserError

NAMES = ["t-shirt", "ünï cödé", "two\nlines"]
HEADS = ["w1", "w2", "s1", "s2"]
METADATA = {"method": "amst", "threshold": 0.01, "passes": 10, "nested": {"é": [1, None]}}


def make_verdicts(n=30, num_heads=4, seed=0):
    rng = np.random.default_rng(seed)
    accepted = np.arange(n) % 3 == 0
    probabilities = rng.dirichlet(np.ones(3), n).astype(np.float32)
    label = rng.integers(0, 3, n)
    return Verdicts(
        seed_id=np.arange(n) // 10 + 5_000_000_000,
        variant=np.arange(n) % 10,
        seed_label=(np.arange(n) % 3).astype(np.int32),
        predictions=rng.integers(0, 3, (n, num_heads), dtype=np.int32),
        uncertainty=np.where(np.arange(n) == 4, np.nan, rng.random(n)).astype(np.float32),
        accepted=accepted,
        pseudo_label=np.where(accepted, label, -1).astype(np.int32),
        probabilities=probabilities,
        decoded=np.arange(n) != 4,
    )


def assert_equal(first, second):
    for name, a, b in zip(Verdicts._fields, first, second, strict=True):
        assert a.dtype == b.dtype, name
        np.testing.assert_array_equal(a, b, err_msg=name, strict=True)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "verdicts.parquet"
    write_verdicts(path, make_verdicts(), label_names=NAMES, head_names=HEADS, metadata=METADATA)
    return path


def edit(path, columns=None, keep_metadata=True, drop=()):
    """Save as an editor would, with some columns replaced."""
    table = pq.read_table(path)
    for name, values in (columns or {}).items():
        table = table.set_column(table.column_names.index(name), name, values)
    table = table.drop_columns(list(drop))
    pq.write_table(table if keep_metadata else table.replace_schema_metadata(None), path)


@pytest.mark.parametrize(("n", "num_heads"), [(30, 4), (30, 1), (30, 0), (0, 4), (0, 0)])
def test_round_trip_is_exact(tmp_path, n, num_heads):
    verdicts, path = make_verdicts(n, num_heads), tmp_path / "a.parquet"
    heads = HEADS[:num_heads]
    write_verdicts(path, verdicts, label_names=NAMES, head_names=heads, metadata=METADATA)
    found, label_names, head_names, metadata = read_verdicts(path)
    assert_equal(found, verdicts)
    assert (label_names, head_names, metadata) == (NAMES, heads, METADATA)
    assert [file.name for file in tmp_path.iterdir()] == ["a.parquet"]
    found.uncertainty[:] = 0  # may be written to


def test_columns_for_other_readers(path):
    verdicts = make_verdicts()
    table = pq.read_table(path)
    assert table.column_names == [
        *("seed_id", "variant", "seed_label", "seed_label_name"),
        *(f"prediction_{head}" for head in HEADS),
        *("uncertainty", "accepted", "pseudo_label", "pseudo_label_name", "probabilities"),
        "decoded",
    ]
    rows = table.to_pylist()
    for row, accepted, label in zip(rows, verdicts.accepted, verdicts.pseudo_label, strict=True):
        assert row["pseudo_label"] == (int(label) if accepted else None)
        assert row["pseudo_label_name"] == (NAMES[label] if accepted else None)
        assert row["seed_label_name"] == NAMES[row["seed_label"]]
    assert rows[4]["uncertainty"] is None
    assert rows[7]["probabilities"] == verdicts.probabilities[7].tolist()
    header = json.loads(table.schema.metadata[b"dreamda_jax.verdicts"])
    assert header == {"label_names": NAMES, "head_names": HEADS, "metadata": METADATA}


def test_concatenate():
    whole = make_verdicts(30)
    parts = [Verdicts(*(field[a:b] for field in whole)) for a, b in ((0, 7), (7, 7), (7, 30))]
    assert_equal(concatenate(parts), whole)
    with pytest.raises(ValueError, match="no verdicts"):
        concatenate([])
    with pytest.raises(ValueError, match="must match"):
        concatenate([whole, make_verdicts(num_heads=3)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed_label": np.zeros(30, np.int64)}, "seed_label must be int32"),
        ({"decoded": np.ones(29, bool)}, "decoded must be bool"),
        ({"pseudo_label": np.zeros(30, np.int32)}, "not accepted but has a pseudo_label"),
        ({"decoded": np.zeros(30, bool)}, "could not be decoded"),
        ({"seed_label": np.full(30, 3, np.int32)}, "seed_label that is no class 0 to 2"),
        ({"predictions": np.full((30, 4), -1, np.int32)}, "prediction that is no class"),
    ],
)
def test_wrong_verdicts_are_not_written(tmp_path, change, message):
    verdicts = make_verdicts()._replace(**change)
    with pytest.raises(ValueError, match=message):
        write_verdicts(tmp_path / "a", verdicts, label_names=NAMES, head_names=HEADS, metadata={})
    assert not list(tmp_path.iterdir())


def test_two_heads_of_one_name(tmp_path):
    with pytest.raises(ValueError, match="same name"):
        write_verdicts(
            tmp_path / "a",
            make_verdicts(),
            label_names=NAMES,
            head_names=["w", "w", "s", "t"],
            metadata={},
        )


def test_full_disk_keeps_the_old_file(path, monkeypatch):
    before = path.read_bytes()

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "replace", full)
    with pytest.raises(UserError, match="No space left"):
        write_verdicts(
            path, make_verdicts(seed=1), label_names=NAMES, head_names=HEADS, metadata={}
        )
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("list_type", [pa.list_(pa.float32()), pa.large_list(pa.float64())])
def test_edited_as_pandas_or_polars_do(path, list_type):
    """Their float64 for whole numbers with gaps, their lists, and none of our metadata."""
    verdicts = make_verdicts()
    labels = [None if label < 0 else float(label) for label in verdicts.pseudo_label]
    labels[0], labels[1] = 2.0, 1.0  # a corrected label, and one for an image without any
    accepted = verdicts.accepted.copy()
    accepted[[1, 3]] = True, False  # the label of row 3 is still there
    edit(
        path,
        {
            "pseudo_label": pa.array(labels, pa.float64()),
            "accepted": pa.array(accepted),
            "probabilities": pa.array(verdicts.probabilities.tolist(), list_type),
        },
        keep_metadata=False,
    )
    found, label_names, head_names, metadata = read_verdicts(path)
    wanted = verdicts.pseudo_label.copy()
    wanted[[0, 1, 3]] = 2, 1, -1
    assert_equal(found, verdicts._replace(accepted=accepted, pseudo_label=wanted))
    assert (label_names, head_names, metadata) == (NAMES, HEADS, {})


def test_rows_left_out(path):
    pq.write_table(pq.read_table(path).slice(10, 5), path)
    found, label_names, *_ = read_verdicts(path)
    assert_equal(found, Verdicts(*(field[10:15] for field in make_verdicts())))
    assert label_names == NAMES


def test_names_come_from_pseudo_labels_if_no_seed_has_them(path):
    table = pq.read_table(path).replace_schema_metadata(None)
    verdicts = make_verdicts()
    wanted = (verdicts.seed_label != 1) | (verdicts.pseudo_label == 1)
    as_seed_0 = pa.array(np.zeros(int(wanted.sum()), np.int32))
    table = table.filter(pa.array(wanted))
    table = table.set_column(2, "seed_label", as_seed_0)
    table = table.set_column(3, "seed_label_name", pa.array(["t-shirt"] * len(table)))
    pq.write_table(table, path)
    assert {1, 2} <= set(table["pseudo_label"].to_pylist())
    assert read_verdicts(path)[1] == NAMES
    # Without any row that names class 1, there is no way to know.
    pq.write_table(table.filter(pa.compute.not_equal(table["pseudo_label"], 1)), path)
    with pytest.raises(UserError, match="no row names the class 1"):
        read_verdicts(path)


def test_one_class_of_two_names(path):
    names = ["t-shirt", "ünï cödé", "two\nlines"] * 9 + ["shirt", "ünï cödé", "two\nlines"]
    edit(path, {"seed_label_name": pa.array(names)}, keep_metadata=False)
    with pytest.raises(UserError, match="class 0 is called both 'shirt' and 't-shirt'"):
        read_verdicts(path)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"pseudo_label": pa.array([7] * 30)}, r"row 0 \(seed image 5000000000, variant 0\) is ac"),
        ({"pseudo_label": pa.nulls(30, pa.int32())}, "accepted but pseudo_label is no class"),
        ({"pseudo_label": pa.array([0.5] * 30)}, "column pseudo_label of .* cannot be read as"),
        ({"pseudo_label": pa.array(["coat"] * 30)}, "column pseudo_label of .* cannot be read as"),
        ({"accepted": pa.array([True, None] * 15)}, "15 values are missing"),
        ({"accepted": pa.array([True] * 30)}, "accepted but"),
        ({"probabilities": pa.array([0.5] * 30)}, "should have a list of numbers"),
        ({"probabilities": pa.array([[0.5], [1, 2]] * 15)}, "differ in length"),
        ({"probabilities": pa.array([[0.5, None, 1]] * 30)}, "missing numbers"),
        ({"probabilities": pa.array([[0.5, 0.5]] * 30)}, "names 3 classes"),
    ],
)
def test_edits_that_make_no_sense(path, columns, message):
    edit(path, columns)
    with pytest.raises(UserError, match=message):
        read_verdicts(path)


def test_missing_columns(path):
    edit(path, drop=["accepted", "decoded"])
    with pytest.raises(UserError, match="has no column accepted, decoded"):
        read_verdicts(path)


def test_a_head_without_its_column(path):
    edit(path, drop=["prediction_s1"])
    with pytest.raises(UserError, match="prediction_… for each of the heads"):
        read_verdicts(path)


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "flipped byte", "metadata"])
def test_damaged_files(path, damage):
    data = path.read_bytes()
    if damage == "metadata":
        table = pq.read_table(path)
        pq.write_table(table.replace_schema_metadata({"dreamda_jax.verdicts": "{oops"}), path)
    else:
        flipped = data[:200] + bytes([data[200] ^ 0xFF]) + data[201:]
        choices = {"cut": data[:-50], "empty": b"", "text": b"a,b\n1,2\n", "flipped byte": flipped}
        path.write_bytes(choices[damage])
    with pytest.raises(UserError, match=f"{path}.* damaged"):
        read_verdicts(path)


def test_missing_file_directory_and_another_table(tmp_path):
    with pytest.raises(UserError, match="There is no file of verdicts"):
        read_verdicts(tmp_path / "none.parquet")
    with pytest.raises(UserError, match="is a directory, where a file is needed"):
        read_verdicts(tmp_path)
    pq.write_table(pa.table({"image": [1]}), tmp_path / "other.parquet")
    with pytest.raises(UserError, match="it is not a file of verdicts"):
        read_verdicts(tmp_path / "other.parquet")

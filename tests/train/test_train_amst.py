"""`--config.train.method=amst` from a configuration to files: its ablations and what it refuses."""

import contextlib
import io
import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dreamda_jax.data.sets import dataset, shards
from dreamda_jax.data.sets.verdicts import Verdicts, read_verdicts
from dreamda_jax.errors import UserError
from dreamda_jax.models.classifiers import pretrained
from dreamda_jax.runtime.log import read_log
from dreamda_jax.train import __main__ as train
from dreamda_jax.train import build
from dreamda_jax.train.methods import open_method
from tests.support.small_training import (
    AMST_THRESHOLD,
    CLASSES,
    StopAfter,
    garment,
    make_amst_config,
    make_synthetic,
)

HEADS = ["w1", "w2", "s1", "s2"]
LABELS = np.arange(6).repeat(2) % 3  # of six seeds' two variants


class First:
    """A whole run by the command, and others that start from its first stage."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.config = make_amst_config(directory)
        self.printed = self.command()
        self.run = directory / "classifier" / "run-0"
        self.verdicts = self.read(self.run)

    def command(self) -> str:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            assert train._train(self.config, False, threading.Event()) == 0
        return printed.getvalue()

    def again(self, output: Path, *, stage1: bool = True, **amst) -> Path:
        """Trains with other settings; one that has the same first stage takes it over."""
        config = make_amst_config(self.directory, **amst)
        return self.train(config, output, stage1=stage1)

    def train(self, config, output: Path, *, stage1: bool = True) -> Path:
        config["train"]["output"] = str(output)
        training = open_method(build.training(config))
        if stage1:
            shutil.copytree(self.run / "stage1", output / "run-0" / "stage1")
        assert training.train(0, threading.Event()) is not None
        return output / "run-0"

    @staticmethod
    def read(run: Path, number: int = 1) -> Verdicts:
        return read_verdicts(run / f"round-{number}" / "verdicts.parquet")[0]


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    return First(tmp_path_factory.mktemp("amst"))


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        ("amst", "threshold", 0.5),
        ("train", "learning_rate", 0.01),
        ("train", "method", "supervised"),
    ],
)
def test_a_finished_run_is_not_passed_off_as_one_of_other_settings(first, section, field, value):
    before = (first.directory / "classifier" / "config.json").read_bytes()
    config = {**first.config, section: {**first.config[section], field: value}}
    with pytest.raises(UserError, match=rf"(?s)started with other settings.*{section}\.{field}"):
        train._train(config, False, threading.Event())
    assert (first.directory / "classifier" / "config.json").read_bytes() == before


def test_an_edited_file_of_labels_is_another_setting(first, tmp_path):
    file = tmp_path / "labels.parquet"
    shutil.copy(first.run / "round-1" / "verdicts.parquet", file)
    config = make_amst_config(first.directory, pseudo_labels=str(file))
    before = build.training(config).identity.settings
    table = pq.read_table(file)
    accepted = pa.array([False] * len(table))
    pq.write_table(
        table.set_column(table.column_names.index("accepted"), "accepted", accepted), file
    )
    assert build.training(config).identity.settings != before


def test_the_stages_leave_logs_verdicts_an_audit_and_a_classifier(first):
    made = first.run / "round-1"
    for stage in (first.run / "stage1", made):
        log = read_log(stage)
        assert [row["step"] for row in log if "train/loss" in row] == [1, 2]
        assert [row["step"] for row in log if "validation/accuracy" in row] == [2]
    for picture in ("audit.png", "acceptance.png"):
        assert min(Image.open(made / picture).size) > 100
    for picture in ("confusion.png", "per_class.png", "curves.png"):
        assert min(Image.open(first.run / picture).size) > 100
    accepted = int(first.verdicts.accepted.sum())
    audit = json.loads((made / "audit.json").read_bytes())
    assert (audit["images"], audit["accepted"]) == (12, accepted)
    assert f"accepted  {accepted} of 12 images" in first.printed
    assert f"24 real and {accepted} synthetic images with labels" in first.printed
    assert f"consistency on {12 - accepted} without" in first.printed
    result = json.loads((first.run / "result.json").read_bytes())
    assert np.sum(result["confusion"]) == 12
    for name in ("classifier", "classifier_best"):
        _, variables, described = pretrained.open_classifier(first.run / name)
        assert tuple(described.label_names) == CLASSES
        assert set(variables["params"]).isdisjoint({"heads", "classifier"})
    assert not (made / "judged").exists()


def test_again_there_is_nothing_left_to_do(first):
    printed = first.command()
    assert "\nstage" not in printed
    assert printed.splitlines()[-3:] == first.printed.splitlines()[-3:]


def test_verdicts_say_what_the_heads_thought_and_lie_beside_the_set(first):
    file = first.run / "round-1" / "verdicts.parquet"
    (beside,) = (first.directory / "made" / "verdicts").glob("amst-*-run0-round1.parquet")
    assert beside.read_bytes() == file.read_bytes()
    assert str(beside) in first.printed
    verdicts, label_names, head_names, metadata = read_verdicts(beside)
    assert (tuple(label_names), head_names) == (CLASSES, HEADS)
    assert metadata["threshold"] == AMST_THRESHOLD
    assert verdicts.seed_id.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert verdicts.variant.tolist() == [0, 1] * 6
    np.testing.assert_array_equal(verdicts.seed_label, LABELS)
    assert verdicts.decoded.all()
    agree = (verdicts.predictions == verdicts.predictions[:, :1]).all(1)
    certain = verdicts.uncertainty < AMST_THRESHOLD
    np.testing.assert_array_equal(verdicts.accepted, agree & certain)
    assert 0 < verdicts.accepted.sum() < 12
    kept = verdicts.accepted
    np.testing.assert_array_equal(verdicts.pseudo_label[kept], verdicts.predictions[kept, 0])
    assert (verdicts.pseudo_label[~kept] == -1).all()
    # Means of float32 softmax outputs.
    np.testing.assert_allclose(verdicts.probabilities.sum(1), 1, rtol=1e-5)


def test_without_consistency_only_images_with_labels_are_learnt(first, tmp_path, capsys):
    run = first.again(tmp_path / "out", consistency=False)
    assert "synthetic images with labels, no consistency" in capsys.readouterr().out
    assert_equal(first.read(run), first.verdicts)
    names = {name for row in read_log(run / "round-1") for name in row}
    with_it = {name for row in read_log(first.run / "round-1") for name in row}
    assert "train/loss" in names
    assert names < with_it


@pytest.mark.slow
def test_without_multi_head_one_head_sees_both_views(first, tmp_path):
    run = first.again(tmp_path / "out", stage1=False, multi_head=False)
    verdicts, _, heads, _ = read_verdicts(run / "round-1" / "verdicts.parquet")
    assert heads == ["b1"]
    np.testing.assert_array_equal(verdicts.accepted, verdicts.uncertainty < AMST_THRESHOLD)
    log = read_log(run / "stage1")
    assert all(row["train/orthogonality"] == 0 for row in log if "train/loss" in row)


@pytest.mark.slow
def test_without_orthogonality_the_loss_lacks_its_term(first, tmp_path):
    config = make_amst_config(first.directory, orthogonality_weight=0)
    config["train"]["output"] = str(tmp_path / "out")
    training = open_method(build.training(config))
    assert training.train(0, StopAfter(1)) is None  # after the first step
    run = tmp_path / "out" / "run-0"
    with_it, without = (read_log(path / "stage1")[0] for path in (first.run, run))
    assert with_it["train/orthogonality"] > 0.1
    np.testing.assert_allclose(
        with_it["train/loss"] - without["train/loss"],
        0.001 * with_it["train/orthogonality"],
        atol=2e-6,  # float32 rounding of losses of about 5
    )


def test_seed_labels_need_no_first_stage_when_training_starts_fresh(first, tmp_path):
    run = first.again(tmp_path / "out", stage1=False, pseudo_labels="seed", stage3_start="fresh")
    assert not (run / "stage1").exists()
    verdicts = first.read(run)
    np.testing.assert_array_equal(verdicts.pseudo_label, LABELS)
    assert verdicts.accepted.all()
    assert np.isnan(verdicts.uncertainty).all()
    assert verdicts.predictions.shape == (12, 0)


@pytest.mark.slow
def test_soft_labels_are_the_heads_mean_distribution(first, tmp_path, capsys):
    run = first.again(tmp_path / "out", pseudo_labels="soft")
    assert "12 synthetic images with labels, no consistency" in capsys.readouterr().out
    verdicts = first.read(run)
    assert verdicts.accepted.all()
    np.testing.assert_array_equal(verdicts.probabilities, first.verdicts.probabilities)
    np.testing.assert_array_equal(verdicts.pseudo_label, verdicts.probabilities.argmax(1))


def test_clip_labels_without_training(first, tmp_path):
    run = first.again(tmp_path / "out", pseudo_labels="clip", stage3_start="fresh", stage1=False)
    verdicts = first.read(run)
    assert verdicts.accepted.all()
    np.testing.assert_array_equal(verdicts.pseudo_label, verdicts.probabilities.argmax(1))
    # The packaged CLIP was trained on such images: chance is 4 of 12.
    assert (verdicts.pseudo_label == LABELS).sum() >= 9


def test_labels_of_an_earlier_run_and_those_edited_by_hand(first, tmp_path, capsys):
    file = tmp_path / "edited.parquet"
    table = pq.read_table(first.run / "round-1" / "verdicts.parquet")
    accepted, labels = np.arange(12) % 3 != 0, np.arange(12) // 4
    for name, values in {"accepted": accepted, "pseudo_label": labels.astype(np.int32)}.items():
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    pq.write_table(table.take(np.arange(12)[::-1]), file)  # the order of rows says nothing
    how = {"pseudo_labels": str(file), "stage3_start": "fresh"}
    verdicts = first.read(first.again(tmp_path / "out", stage1=False, **how))
    expected = first.verdicts._replace(
        accepted=accepted, pseudo_label=np.where(accepted, labels, -1)
    )
    for name in ("seed_id", "variant", "seed_label", "accepted", "pseudo_label", "decoded"):
        np.testing.assert_array_equal(getattr(verdicts, name), getattr(expected, name), name)
    assert "8 synthetic images with labels, consistency on 4 without" in capsys.readouterr().out


def test_a_file_of_labels_may_lack_rows_but_must_be_of_the_set(first, tmp_path):
    table = pq.read_table(first.run / "round-1" / "verdicts.parquet")
    file = tmp_path / "edited.parquet"
    pq.write_table(table, file)
    setup = build.training(make_amst_config(first.directory, pseudo_labels=str(file)))

    def label(table: pa.Table, name: str) -> Verdicts | None:
        pq.write_table(table, file)
        numbers = {"run": 0, "round_number": 1}
        return open_method(setup)._labelling.label(
            tmp_path / name, {}, 0, **numbers, stop=threading.Event()
        )

    kept = label(table.slice(0, 10), "fewer")
    np.testing.assert_array_equal(kept.accepted[:10], first.verdicts.accepted[:10])
    assert not kept.accepted[10:].any()
    with pytest.raises(UserError, match="two rows on variant 0 of seed image 0"):
        label(pa.concat_tables([table, table.slice(0, 1)]), "twice")
    seeds = table.column_names.index("seed_id")
    moved = pa.array(np.asarray(table["seed_id"]) + 100)
    with pytest.raises(UserError, match=r"another data set[\s\S]*no verdict on any"):
        label(table.set_column(seeds, "seed_id", moved), "foreign")
    labels = table.column_names.index("seed_label")
    other = pa.array((np.asarray(table["seed_label"]) + 1) % 3)
    with pytest.raises(UserError, match="12 images have another seed's class"):
        label(table.set_column(labels, "seed_label", other), "relabelled")


@pytest.mark.slow
def test_a_second_round_asks_the_heads_that_the_first_trained(first, tmp_path):
    run = first.again(tmp_path / "out", max_rounds=2)
    names = {name for row in read_log(run / "round-1") for name in row}
    assert "train/head_accuracy" in names
    assert_equal(first.read(run, 1), first.verdicts)
    assert (first.read(run, 2).probabilities != first.verdicts.probabilities).any()
    assert len(read_log(run / "round-2")) == len(read_log(run / "round-1"))
    assert (
        json.loads((run / "result.json").read_bytes())["result"]["seed"]
        == first.config["train"]["seed"]
    )


def test_no_image_accepted_says_why_and_goes_on_with_consistency_alone(first, tmp_path, capsys):
    run = first.again(tmp_path / "out", threshold=0.0)
    printed = capsys.readouterr().out
    assert "accepted  0 of 12 images" in printed
    assert "heads disagree 0, uncertain 12, both 0" in printed
    assert "0 synthetic images with labels, consistency on 12 without" in printed
    assert not first.read(run).accepted.any()


def test_every_image_accepted_goes_on_without_consistency(first, tmp_path, capsys):
    run = first.again(tmp_path / "out", threshold=1.0)
    assert "12 synthetic images with labels, no consistency" in capsys.readouterr().out
    assert first.read(run).accepted.all()


@pytest.mark.slow
def test_a_broken_synthetic_image_is_named_and_never_accepted(first, tmp_path, capsys):
    config = make_amst_config(first.directory, threshold=1.0)
    made = make_synthetic(tmp_path / "made", seeds=6, pixels=garment, broken=[(3, 1)])
    config["output"]["path"] = str(made)
    run = first.train(config, tmp_path / "out")
    printed = capsys.readouterr().out
    assert "left out    seed3/1" in printed
    assert "undecodable 1" in printed
    assert "11 synthetic images with labels, no consistency" in printed
    verdicts = first.read(run)
    assert verdicts.decoded.tolist() == verdicts.accepted.tolist()
    assert np.flatnonzero(~verdicts.decoded).tolist() == [7]
    assert verdicts.pseudo_label[7] == -1


def test_an_oracle_of_more_classes_is_asked_about_those_here(first, tmp_path, capsys):
    config = make_amst_config(first.directory, pseudo_labels="seed", stage3_start="fresh")
    config["audit"]["oracle"] = "sample"  # of ten classes
    run = first.train(config, tmp_path / "out", stage1=False)
    audit = json.loads((run / "round-1" / "audit.json").read_bytes())
    assert set(audit["labellings"]) == {"seed", "clip"}
    assert audit["labellings"]["seed"]["precision"] > 0.7  # real images, some of them darker
    assert "precision by the oracle" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("amst", {"pseudo_labels": "amts"}, "'amts' is neither one of amst, soft, clip, seed nor"),
        ("amst", {"threshold": -1.0}, "threshold must not be negative"),
        ("amst", {"num_passes": 1}, "num_passes must be at least 2"),
        ("amst", {"label_view": "weak"}, "amst.label_view"),
        ("augment", {"rand_augment": True}, "section strong"),
        ("augment", {"random_erasing": 0.5}, "section strong"),
        ("data", {"synthetic": "nowhere"}, r"nowhere[\s\S]*data\.synthetic"),
        ("train", {"method": "amts"}, "train.method"),
    ],
)
def test_values_that_do_not_fit_are_named(tmp_path, section, values, message):
    config = make_amst_config(tmp_path)
    config[section] |= values
    with pytest.raises(UserError, match=message):
        build.training(config)


def test_a_class_of_one_image_is_named(tmp_path):
    config = make_amst_config(tmp_path)
    for image in sorted((tmp_path / "train" / "sandal").iterdir())[1:]:
        image.unlink()
    with pytest.raises(UserError, match=r"at least two labelled images.*'sandal' \(1\)"):
        build.training(config)


def test_an_empty_synthetic_set_is_refused(tmp_path):
    config = make_amst_config(tmp_path)
    layout = dataset.read_layout(tmp_path / "made")
    for shard in range(layout.num_shards):
        skipped = [shards.Skipped(seed, f"seed{seed}", "broken") for seed in layout.seed_ids(shard)]
        shards.write_shard(layout, shard, [], skipped)
    with pytest.raises(UserError, match=r"no images in .*made: every seed image was skipped"):
        build.training(config)
    config["output"]["path"] = str(tmp_path / "nothing")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UserError, match=r"nothing[\s\S]*that of output\.path"):
        build.training(config)


def assert_equal(verdicts: Verdicts, expected: Verdicts) -> None:
    for name, one, other in zip(Verdicts._fields, verdicts, expected, strict=True):
        np.testing.assert_array_equal(one, other, name, strict=True)

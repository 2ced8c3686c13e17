"""From what commands leave to a row, and from rows to the table and the pictures."""

import numpy as np
import pytest
from PIL import Image

from dreamda_jax.data.sets import production_log
from dreamda_jax.data.sources import Spread
from dreamda_jax.data.sources.sample_source import SampleSource
from dreamda_jax.errors import UserError
from dreamda_jax.reproduce import numbers, progress, table
from dreamda_jax.reproduce.cells import stages
from dreamda_jax.reproduce.comparison_sheet import comparison_sheet
from dreamda_jax.reproduce.run import Ended
from dreamda_jax.reproduce.scale_plot import scale_plot
from tests.support.small_study import CONFIG, cell, setup, write_json
from tests.support.small_training import make_synthetic

METRICS = {"fid": (12.34, 10.0, 14.0, 4.4), "recall": (0.5, 0.4, 0.6, 0.9), "kid": (None,) * 4}
FILL = {
    "generate": lambda here: write_json(here / "set" / "dataset_info.json", {}),
    "evaluate": lambda here: write_json(
        here / "report" / "report.json",
        {
            "sets": {"synthetic": {"images": 1200}},
            "extractor": {"description": "some network"},
            "metrics": [
                dict(zip(("name", "value", "low", "high", "baseline"), (name, *of), strict=True))
                for name, of in METRICS.items()
            ],
            "diversity": {"ratio": 0.38},
            "copies": {"training": {"flagged": 3}, "test": None},
        },
    ),
    "labels": lambda here: write_json(
        here / "labels.json", {"share": 0.844, "low": 0.8, "high": 0.88, "images": 1200}
    ),
    "train": lambda here: fill_training(here / "classifier"),
}


def fill_training(directory):
    settings = {
        "data": {"train_on": "mixed"},
        "train": {"method": "supervised"},
        "sha256": {"test": "x"},
    }
    write_json(directory / "config.json", {"settings": settings})
    runs = [{"test_accuracy": accuracy} for accuracy in (0.7308, 0.7334, 0.7236)]
    write_json(directory / "results.json", {"runs": runs})
    write_json(
        directory / "run-0" / "result.json", {"label_names": ["a", "b"], "confusion": [[1, 0]] * 2}
    )


def fill(here, study, *names):
    """Makes these stages of a cell, and notes them as finished."""
    for stage in stages(here, study):
        if stage.name in names:
            FILL[stage.name](study.directory(here))
            progress.note_finished(
                study.directory(here), stage, digest=study.digest(here), seconds=1.5
            )


def test_a_row_holds_what_the_commands_left(tmp_path):
    study, here = setup(tmp_path), cell("a", settings={"noise_scale": 2.0})
    assert numbers.read_cell(here, study, {}) is None
    fill(here, study, "generate", "evaluate", "labels", "train")
    for images, rows, rms in ((100, 40.0, 1.0), (300, 44.0, None)):
        session = {"images": images, "unet_rows_per_image": rows, "flops_per_image": 2e12}
        production_log.append_session(
            study.directory(here) / "set", {**session, "site_rms": rms}, process_index=0
        )
    row = numbers.read_cell(here, study, {})
    assert row is not None
    assert row["set"] == {
        "directory": str(tmp_path / "cells" / "a" / "set"),
        "unet_rows_per_image": 43.0,  # the mean of images, not of sessions
        "tflop_per_image": 2.0,
        "site_rms": 1.0,
    }
    assert row["metrics"]["fid"] == {"value": 12.34, "low": 10.0, "high": 14.0, "baseline": 4.4}
    assert (row["images"], row["diversity"], row["copies"]) == (1200, 0.38, 3)
    assert row["labels"]["share"] == 0.844
    # docs/results.md has these three runs, computed elsewhere.
    assert row["accuracy"]["mean"] == pytest.approx(0.7293, abs=5e-5)
    assert row["accuracy"]["std"] == pytest.approx(0.0051, abs=5e-5)
    assert row["accuracy"]["measured_on"] == "test"
    assert row["seconds"] == dict.fromkeys(("generate", "evaluate", "labels", "train"), 1.5)
    assert row["commands"]["train"].startswith("python -m dreamda_jax.train --config ")

    cells = table.table([row], numbers.baseline([row]))
    assert dict(zip(cells[0], cells[1], strict=True)) == {
        "cell": "a",
        "σ_h": "2",
        "images": "1,200",
        "FID (95 %)": "12.3 (10 to 14)",
        "recall": "0.50",
        "diversity": "0.38",
        "copies": "3",
        "labels the oracle shares (95 %)": "84.4 % (80.0 to 88.0)",
        "RMS of the site": "1",
        "U-Net rows per image": "43.0",
        "TFLOP per image": "2",
        "accuracy": "72.93 % ± 0.51",
        "the runs": "73.08, 73.34, 72.36",
    }
    assert "RMS of the site" not in table.table([{**row, "settings": {"method": "sdedit"}}])[0]
    assert cells[2][:5] == ["real test images", "", "", "4.4", "0.90"]


def test_a_result_of_another_configuration_is_none(tmp_path):
    fill(cell("a"), setup(tmp_path), "generate", "evaluate")
    assert numbers.read_cell(cell("a"), setup(tmp_path, digests={CONFIG: "another"}), {}) is None


def test_a_failed_cell_says_so(tmp_path):
    study, here = setup(tmp_path), cell("a")
    fill(here, study, "generate")
    failures = {("a", "evaluate"): Ended(-9, ("last words",)), ("b", "train"): Ended(1, ())}
    row = numbers.read_cell(here, study, failures)
    assert row is not None
    assert row["failed"] == {
        "evaluate": {"reason": "killed by SIGKILL", "last_lines": ["last words"]}
    }
    assert set(row["commands"]) == {"generate", "evaluate"}
    assert table.table([row])[1][0] == "a (evaluate failed)"


def test_a_damaged_file_is_named(tmp_path):
    study, here = setup(tmp_path), cell("a")
    fill(here, study, "labels")
    (study.directory(here) / "labels.json").write_text("{")
    with pytest.raises(UserError, match=r"labels.json cannot be read"):
        numbers.read_cell(here, study, {})


def test_tables_have_a_row_for_each_cell():
    cells = [["cell", "FID"], ["a", "1"], ["a long name", "10 (9 to 11)"]]
    assert table.as_markdown(cells).splitlines() == [
        *("| cell | FID |", "|---|---|", "| a | 1 |", "| a long name | 10 (9 to 11) |")
    ]
    assert table.as_text(cells).splitlines() == [
        *("cell         FID", "a            1", "a long name  10 (9 to 11)")
    ]


def test_the_sheet_shows_the_same_seeds_in_every_cell(tmp_path):
    def shade(offset):
        def pixels(seed, variant):
            return np.full((32, 32, 3), offset + 10 * seed + variant, np.uint8)

        return pixels

    sets = {
        "a": make_synthetic(tmp_path / "a", seeds=3, pixels=shade(60)),
        "b": make_synthetic(tmp_path / "b", seeds=5, pixels=shade(150)),
    }
    seeds = Spread(SampleSource(split="train"), 5)
    sheet = tmp_path / "sheet.png"
    assert comparison_sheet(sets, seeds, sheet, resolution=32, crop="center")
    with Image.open(sheet) as image:
        found = image.getcolors(1 << 20)
    greys = {c[0] for count, c in found if len(set(c)) == 1 and count >= 96 * 96}
    assert {60 + 10 * s + v for s in range(3) for v in range(2)} <= greys
    assert {150 + 10 * s + v for s in range(3) for v in range(2)} <= greys
    assert not {180, 181, 190, 191} & greys  # seeds that only one of them has
    assert not comparison_sheet({}, seeds, tmp_path / "no.png", resolution=32, crop="center")
    assert not (tmp_path / "no.png").exists()


def test_the_plot_has_a_panel_for_each_figure_there_is(tmp_path):
    fid = {"fid": {"value": 3.0, "low": 2.0, "high": None, "baseline": 1.0}}
    rows = [
        {"settings": {"noise_scale": 1.0}, "metrics": fid},
        {"settings": {"noise_scale": 0.0}, "metrics": fid},
        {"settings": {"noise_scale": 2.0}},  # its evaluation failed
    ]
    assert scale_plot(rows, {"fid": 1.0}, tmp_path / "one.png")
    for row in rows:
        row["labels"] = {"share": 0.8, "low": 0.7, "high": 0.9}
        row["accuracy"] = {"mean": 0.7, "std": None}
    assert scale_plot(rows, None, tmp_path / "three.png")
    with Image.open(tmp_path / "one.png") as one, Image.open(tmp_path / "three.png") as three:
        assert three.width > 2.5 * one.width
    assert not scale_plot([{"settings": {"noise_scale": 1.0}}], None, tmp_path / "no.png")

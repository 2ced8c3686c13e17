"""Where a report may be written, and a report that is there already."""

import re
import shutil
import threading

import pytest

from dreamda_jax.errors import UserError
from dreamda_jax.evaluate import __main__ as evaluate
from dreamda_jax.evaluate import build, report_directory
from dreamda_jax.evaluate.networks import open_networks
from tests.support.read_only_disk import needs_root, read_only_disk
from tests.support.small_training import garment, make_config, make_synthetic


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(configuration, directory of its report)."""
    directory = tmp_path_factory.mktemp("report")
    config = make_config(directory)
    config["output"]["path"] = str(make_synthetic(directory / "made", seeds=6, pixels=garment))
    config["evaluate"] |= {
        **{"cache": str(directory / "features"), "batch_size": 8, "num_neighbours": 3},
        **{"clip": False, "extractor": "sample", "output": str(directory / "report")},
    }
    assert run(config) == 0
    return config, directory / "report"


def run(config, *, dry_run=False):
    given = {"real": None, "synthetic": None}
    return evaluate._evaluate(config, given, dry_run, threading.Event())


def with_output(config, output, **options):
    return {**config, "evaluate": {**config["evaluate"], "output": str(output), **options}}


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("held", ["notes.txt", "config.json", "report.json", "checkpoints/"])
def test_a_directory_of_something_else_is_refused(made, tmp_path, held, dry_run):
    config, _ = made
    if held.endswith("/"):
        (tmp_path / held).mkdir()
    else:
        (tmp_path / held).write_text("{}")
    with pytest.raises(UserError, match=f"holds something else: '{held.rstrip('/')}'"):
        run(with_output(config, tmp_path), dry_run=dry_run)
    assert [entry.name for entry in tmp_path.iterdir()] == [held.rstrip("/")]


def test_the_set_itself_a_file_and_the_trainings_directory_are_refused(made, tmp_path):
    config, _ = made
    with pytest.raises(UserError, match="holds something else"):
        run(with_output(config, config["output"]["path"]))
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="is a file"):
        run(with_output(config, tmp_path / "file"))


def test_a_report_is_written_over_a_report_and_beside_its_features(made, tmp_path):
    config, output = made
    inside = with_output(config, tmp_path, cache=str(tmp_path / "features"))
    (tmp_path / "features").mkdir()  # of an evaluation that was stopped
    assert run(inside) == 0
    (tmp_path / "my notes.txt").write_text("x")  # beside a report they hurt nobody
    assert run(inside) == 0
    assert (tmp_path / "report.html").is_file()
    assert output.is_dir()


def test_a_report_knows_what_it_is_of(made):
    config, output = made

    def of(config):
        parts = build.evaluation(config, real=None, synthetic=None)
        settings = {name: config[name] for name in ("evaluate", "clip")}
        networks = open_networks(parts.options, parts.clip, parts.label_names)
        return report_directory.made_of(
            parts.sets,
            networks,
            view=parts.view,
            classifiers=parts.classifiers,
            settings=settings,
        )

    same = of(config)
    assert report_directory.finished(output, same)["made_of"] == same
    moved = with_output(config, output, cache="elsewhere", batch_size=16)
    assert of(moved) == same
    assert of(with_output(config, output, num_neighbours=2)) != same
    assert report_directory.finished(output, of(with_output(config, output, seed=1))) is None


@needs_root
def test_a_report_on_a_read_only_disk(made, tmp_path, capsys):
    config, output = made
    with read_only_disk(tmp_path, output):
        capsys.readouterr()
        assert run(with_output(config, tmp_path / "report")) == 0
        printed = capsys.readouterr().out
        assert "nothing left to do: the report is there" in printed
        assert f"look at {tmp_path / 'report' / 'report.html'}" in printed
        refused = re.escape("cannot be written (Read-only file system)")
        with pytest.raises(UserError, match=refused):
            run(with_output(config, tmp_path / "report", num_neighbours=2))
        with pytest.raises(UserError, match=refused):
            run(with_output(config, tmp_path / "another"))


@pytest.mark.parametrize("section", ["source", "test"])
def test_a_class_of_which_no_image_can_be_read_is_refused(made, tmp_path, section):
    config, _ = made
    images = shutil.copytree(config[section]["path"], tmp_path / "images")
    for file in (images / "sandal").iterdir():
        file.write_bytes(b"")
    changed = with_output(
        {**config, section: {**config[section], "path": str(images)}}, tmp_path / "report"
    )
    if section == "source":
        changed["test"] = config["test"]
    with pytest.raises(UserError, match=r"class 'sandal' in the (real|test) images .*empty file"):
        run(changed)
    assert not (tmp_path / "report").exists()

"""The class list of a set: what its records say counts."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dreamda_jax.data.sets import dataset
from dreamda_jax.data.sources.synthetic_source import SyntheticSource
from dreamda_jax.errors import UserError
from tests.support.paths import ROOT
from tests.support.small_records import finish

LABELS = "label.labels.txt"


def exchange_lines(path: Path) -> None:
    first, second, *rest = path.read_text().split("\n")
    path.write_text("\n".join([second, first, *rest]))


def flip(place: int, bit: int):
    def change(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[place] ^= 1 << bit
        path.write_bytes(data)

    return change


CHANGES = {
    "two lines exchanged": exchange_lines,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:5]),
    "emptied": lambda path: path.write_bytes(b""),
    "a line more": lambda path: path.write_bytes(path.read_bytes() + b"more\n"),
    **{f"bit {bit} of byte {place}": flip(place, bit) for place, bit in ((0, 0), (3, 5), (9, 7))},
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_class_list_is_refused_and_written_anew(complete, change):
    path = complete.directory / LABELS
    whole = path.read_bytes()
    CHANGES[change](path)
    with pytest.raises(UserError, match=rf"{LABELS} is not what it was.*dreamda_jax\.generate"):
        dataset.open_finished(complete.directory)
    with pytest.raises(UserError, match="its checksum differs"):
        SyntheticSource(complete.directory)
    finish(complete)  # as generate does
    assert path.read_bytes() == whole


@pytest.mark.parametrize("name", ["features.json", "dataset_info.json"])
def test_the_other_metadata_are_covered_too(complete, name):
    path = complete.directory / name
    path.write_text(path.read_text().replace("fashion20", "fashion21").replace("variant", "vari"))
    with pytest.raises(UserError, match=f"{name} is not what it was"):
        dataset.open_finished(complete.directory)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"sha256": {"../x": "0"}}', b"[" * 99_999]
)
def test_a_damaged_list_of_checksums_is_refused_and_written_anew(complete, content):
    path = complete.directory / "done" / "metadata.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match="not the metadata"):
        dataset.open_finished(complete.directory)
    finish(complete)
    assert dataset.open_finished(complete.directory).num_records == 10


@pytest.mark.parametrize("change", ["two lines exchanged", "cut", "bit 0 of byte 0"])
def test_without_checksums_the_records_tell(complete, change, tmp_path):
    """As of a set that 0.1 finished."""
    (complete.directory / "done" / "metadata.json").unlink()
    CHANGES[change](complete.directory / LABELS)
    source = SyntheticSource(complete.directory)
    with pytest.raises(UserError, match=f"{LABELS} is not that of its records"):
        [source[index] for index in range(len(source))]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "dreamda_jax.export", "--to", "parquet"),
            *("--input", str(complete.directory), "--output", str(tmp_path / "out")),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f"{LABELS} is not that of its records" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_whole_set_passes_with_and_without_checksums(complete):
    for _ in range(2):
        found = dataset.open_finished(complete.directory)
        assert len(list(dataset.checked_records(found))) == 10
        (complete.directory / "done" / "metadata.json").unlink(missing_ok=True)


def test_finishing_again_writes_nothing(complete):
    files = [path for path in complete.directory.rglob("*") if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in files}
    finish(complete)
    assert {path: path.stat().st_mtime_ns for path in files} == before
    listed = json.loads((complete.directory / "done" / "metadata.json").read_bytes())["sha256"]
    assert set(listed) == {"features.json", LABELS, "dataset_info.json"}

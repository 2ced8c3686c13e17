"""What is no ordinary file is refused wherever a user or a folder names one."""

import os
import socket
from pathlib import Path

import pytest

from dreamda_jax.data.files import staging
from dreamda_jax.data.files.regular import check_regular
from dreamda_jax.data.prompts import open_prompts
from dreamda_jax.data.sets import verdicts
from dreamda_jax.data.sources.folder import open_folder
from dreamda_jax.errors import UserError
from dreamda_jax.models.weights.hub import read_json
from dreamda_jax.prompts import build, store, template
from tests.support.small_training import make_folder


def test_files_links_and_what_is_absent_pass(tmp_path):
    file = tmp_path / "file"
    file.touch()
    (tmp_path / "link").symlink_to("file")
    for path in (file, tmp_path / "link", tmp_path / "absent", Path("a\0b"), tmp_path / "\udcff"):
        assert check_regular(path) == path


def test_pipes_sockets_devices_and_directories_do_not(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    (tmp_path / "directory").mkdir()
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket"))
        for name, kind in {
            "pipe": "pipe",
            "link": "pipe",
            "directory": "directory",
            "socket": "socket",
            "/dev/zero": "device",
        }.items():
            with pytest.raises(UserError, match=f"is a {kind}, where a file is needed"):
                check_regular(tmp_path / name)


def test_every_reader_of_a_file_that_is_given_refuses_a_pipe(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    readers = (
        lambda: read_json(pipe),
        lambda: open_prompts(("a",), file=str(pipe)),
        lambda: verdicts.read_verdicts(pipe),
        lambda: store.check_settings(pipe, {}),
        lambda: template.open_expander(str(pipe), seed=0),
        lambda: build._read_classes(str(pipe)),
    )
    for read in readers:
        with pytest.raises(UserError, match="is a pipe, where a file is needed"):
            read()


def test_a_pipe_in_the_place_of_a_folder_s_table(tmp_path):
    images = make_folder(tmp_path / "images", split="train", per_class=1)
    os.mkfifo(images / "metadata.csv")
    with pytest.raises(UserError, match=r"metadata\.csv is a pipe, where a file is needed"):
        open_folder(images)


def test_a_pipe_below_an_address_is_not_fetched(tmp_path, monkeypatch):
    monkeypatch.setenv("DREAMDA_JAX_STAGING", str(tmp_path / "staging"))
    there = tmp_path / "there"
    there.mkdir()
    (there / "file").write_bytes(b"1")
    os.mkfifo(there / "pipe")
    here = staging.local(f"file://{there}")
    assert [path.name for path in here.iterdir()] == ["file"]

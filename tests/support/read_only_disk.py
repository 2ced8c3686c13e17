"""A small disk of its own that can be made read-only: root could write through permissions."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


@contextlib.contextmanager
def read_only_disk(directory: Path, *held: Path) -> Iterator[Callable[[bool], None]]:
    """`directory` shows a disk that cannot be written, with copies of files and folders on it.

    Skips the test where mounting is not allowed.

    Args:
      directory: an empty one.
      *held: what is copied to the disk, under its own name.

    Yields:
      A function that makes the disk writable (True) or read-only again.
    """
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(directory)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")

    def writable(value: bool) -> None:
        how = f"remount,{'rw' if value else 'ro'}"
        subprocess.run(["mount", "-o", how, str(directory)], check=True)

    try:
        for each in held:
            (shutil.copytree if each.is_dir() else shutil.copy)(each, directory / each.name)
        writable(False)
        yield writable
    finally:
        subprocess.run(["umount", str(directory)], check=True)

"""Waiting for what another process writes."""

import subprocess
import time
from pathlib import Path


def wait_for(path: Path, process: subprocess.Popen) -> None:
    for _ in range(3000):
        if path.exists():
            return
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.1)
    raise AssertionError(f"{path} did not appear")

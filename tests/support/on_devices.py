"""A module run by a process of its own on a number of fake CPU devices."""

import json
import os
import sys
from typing import Any

from tests.support import warm_start
from tests.support.paths import ROOT
from tests.support.xla import QUICK


def run_on_devices(module: str, *arguments: str, devices: int) -> dict[str, Any]:
    """What the module prints as its last line, which is JSON."""
    flags = f"--xla_force_host_platform_device_count={devices} {QUICK}"
    done = warm_start.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": flags},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])

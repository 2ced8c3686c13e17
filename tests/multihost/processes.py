"""Several processes of one job on this machine, each with devices of its own, over loopback."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.paths import ROOT
from tests.support.waiting import HANG_GUARD_SECONDS
from tests.support.xla import QUICK


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def environment(devices: int) -> dict[str, str]:
    flags = f"--xla_force_host_platform_device_count={devices} {QUICK}"
    return {**os.environ, "XLA_FLAGS": flags}


def start(
    command: Sequence[str],
    *,
    count: int,
    devices: int = 1,
    only: Sequence[int] | None = None,
    others: Mapping[int, Sequence[str]] | None = None,
    flags: Sequence[str] = (),
    directories: Sequence[Path] = (),
) -> list[subprocess.Popen]:
    """The same command as every process of `count`, with the flags that make it one job.

    Of them those in `only`, where that is given; each in its own one of `directories`. By index,
    `others` are the commands of processes that run another one.
    """
    port, others = free_port(), others or {}
    return [
        subprocess.Popen(
            [
                *others.get(index, command),
                f"--coordinator_address=127.0.0.1:{port}",
                f"--num_processes={count}",
                f"--process_id={index}",
                f"--join_timeout={HANG_GUARD_SECONDS}",
                *flags,
            ],
            cwd=directories[index] if directories else ROOT,
            env=environment(devices),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in (range(count) if only is None else only)
    ]


def finish(processes: Sequence[subprocess.Popen]) -> list[tuple[int, str]]:
    """(exit code, everything printed) of each."""
    done = []
    for process in processes:
        try:
            printed = "".join(process.communicate(timeout=HANG_GUARD_SECONDS))
        except subprocess.TimeoutExpired:
            for each in processes:
                each.kill()
            raise
        done.append((process.returncode, printed))
    return done


def module(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"dreamda_jax.{name}", *arguments]


def write_config(file: Path, config: dict[str, Any]) -> Path:
    """A configuration file as a user has one."""
    file.write_text(
        "import json\n\nfrom ml_collections import ConfigDict\n\n\n"
        f"def get_config():\n    return ConfigDict(json.loads({json.dumps(config)!r}))\n"
    )
    return file

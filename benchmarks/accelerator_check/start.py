"""Starts JAX on the cards, and says in plain words why there are none."""

import logging
import os
import platform
import shutil
import subprocess
import sys
import warnings
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from dreamda_jax.errors import UserError

# What says that JAX found a driver, and that it is not new enough.
_OLD_DRIVER = ("insufficient", "driver is too old", "driver version", "unsupported toolchain")


class NoAcceleratorError(UserError):
    """There is no card that JAX can use; says what JAX said of it, and what to do."""


def prepare() -> None:
    """Sets what JAX reads when it is imported; without effect afterwards."""
    # Memory is taken as it is needed, so that its peak is the program's.
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    asked = os.environ.get("JAX_PLATFORMS", "")
    if asked and "cpu" not in asked.split(","):  # the host computes what cards are compared with
        os.environ["JAX_PLATFORMS"] = f"{asked},cpu"


def find_devices(*, allow_cpu: bool) -> list[Any]:
    """The accelerators of this process; its CPU devices where that is allowed.

    Raises:
      NoAcceleratorError: there are none, or JAX cannot use them.
    """
    import jax

    heard = _Heard()
    logger = logging.getLogger("jax")
    logger.addHandler(heard)
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            devices = jax.local_devices()
    except RuntimeError as error:
        raise NoAcceleratorError(_explain([*heard.messages, str(error)])) from error
    finally:
        logger.removeHandler(heard)
    if devices[0].platform == "cpu" and not allow_cpu:
        said = [*heard.messages, *(str(warning.message) for warning in warned)]
        raise NoAcceleratorError(_explain(said))
    return devices


class _Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())
        if record.exc_info and record.exc_info[1] is not None:
            self.messages.append(str(record.exc_info[1]))


def _explain(said: Sequence[str]) -> str:
    words = "; ".join(dict.fromkeys(" ".join(line.split()) for line in said if line.strip()))
    heard = f" JAX said: {words}" if words else ""
    driver = nvidia_driver()
    if any(sign in words.lower() for sign in _OLD_DRIVER):
        here = f" (here: {driver})" if driver else ""
        return (
            f"JAX cannot use the card: its driver{here} is too old for the CUDA of the jax plug-in "
            "that is installed. Install a driver of version 580 or newer for jax[cuda13], 525 or "
            f"newer for jax[cuda12], or the plug-in that fits the driver.{heard}"
        )
    if driver:
        return (
            f"JAX does not see the NVIDIA card of this machine (driver {driver}): install "
            f"jax[cuda12] or jax[cuda13], and leave JAX_PLATFORMS unset.{heard}"
        )
    return (
        "there is no accelerator that JAX can see. --allow_cpu runs the check on the CPU all the "
        f"same (with --size=micro in minutes).{heard}"
    )


def nvidia_driver() -> str | None:
    """The version of NVIDIA's driver by nvidia-smi; None where there is none."""
    if shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.split("\n")
    return lines[0].strip() or None if done.returncode == 0 else None


def memory_limits(devices: Sequence[Any]) -> list[int]:
    """Bytes that a program may take of each device; empty where a backend does not say."""
    stats = [device.memory_stats() for device in devices]
    if not all(stats):
        return []
    return [int(each["bytes_limit"]) for each in stats]


def unlike(devices: Sequence[Any]) -> str | None:
    """What to say where the cards differ, whose smallest decides; None where they do not."""
    limits = memory_limits(devices)
    kinds = {device.device_kind for device in devices}
    if len(set(limits)) <= 1 and len(kinds) == 1:
        return None
    each = ", ".join(
        device.device_kind + (f" with {limit / 1e9:.1f} GB" if limit else "")
        for device, limit in zip(devices, limits or [0] * len(devices), strict=True)
    )
    smallest = f": {min(limits) / 1e9:.1f} GB is taken as the limit of each" if limits else ""
    return f"the cards are not alike ({each}){smallest}"


def describe(devices: Sequence[Any]) -> dict[str, Any]:
    """Card, versions and driver, for every line of the report."""
    versions = {name: metadata.version(name) for name in ("jax", "jaxlib", "flax", "numpy")}
    limits = memory_limits(devices)
    return {
        "card": devices[0].device_kind,
        "cards": len(devices),
        "memory_limit_gb": min(limits) / 1e9 if limits else None,
        "host_cores": os.cpu_count(),
        "python": platform.python_version(),
        **versions,
        "platform_version": " ".join(str(devices[0].client.platform_version).split()),
        "driver": nvidia_driver(),
        "system": sys.platform,
    }

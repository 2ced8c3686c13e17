"""Devices to compile for, without one of them being here."""

import importlib.util
import os
from pathlib import Path
from typing import Any

import jax
from jax.experimental import topologies

from dreamda_jax.errors import UserError
from dreamda_jax.plan.targets import Target
from dreamda_jax.runtime import devices as runtime_devices
from dreamda_jax.runtime import measured_rate
from dreamda_jax.runtime.chips import Chip

_CARDS = Path(__file__).parent / "cards"
_PLUGINS = {
    "tpu": ("libtpu", "TPU", "tpu"),
    "cuda": ("jax_cuda12_plugin", "CUDA", "cuda12"),
}


def check_plugin(target: Target) -> None:
    """Whether the compiler for a target is installed.

    Raises:
      UserError: it is not; the message has the command that installs it.
    """
    if target.chip.platform not in _PLUGINS:
        return
    module, kind, extra = _PLUGINS[target.chip.platform]
    if importlib.util.find_spec(module) is None:
        raise UserError(
            f"compiling for {target.name} needs the {kind} compiler, whose package {module} is not "
            f"installed: pip install 'dreamda-jax[{extra}]' (no such device has to be there). "
            "With --fast nothing is compiled."
        )


def target_devices(target: Target) -> list[Any]:
    """All devices of a target, host by host; arrays cannot be put on them.

    Raises:
      UserError: the compiler is not installed, or does not know such devices.
    """
    if target.topology is None:
        return jax.local_devices()
    check_plugin(target)
    options = dict(target.topology)
    if target.chip.platform == "cuda":
        card = _CARDS / f"{target.family}.txt"
        options |= {"topology_name": "", "target_config": card.read_text()}
    try:
        described = topologies.get_topology_desc(platform=target.chip.platform, **options)
    except Exception as error:  # whatever the plug-in of the day raises
        raise UserError(
            f"the installed {_PLUGINS[target.chip.platform][1]} compiler cannot compile for "
            f"{target.name}: {str(error).splitlines()[0]}"
        ) from error
    return list(described.devices)


def pretended(target: Target) -> list[Any]:
    """CPU devices in the place of the target's, as `targets.tell_jax` asked for: to trace on.

    Raises:
      UserError: JAX cannot start them.
    """
    runtime_devices.start()
    return jax.local_devices()[: target.num_devices]


def this_machine() -> Target:
    """The CPU that is here; what it can do is measured later, by `with_measured_rates`.

    Raises:
      UserError: JAX cannot start it.
    """
    runtime_devices.start()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    chip = Chip("this machine's CPU", "cpu", float(memory), {}, 0.0, measured_rate.SOURCE)
    return Target("cpu", "cpu", chip, len(jax.local_devices()), None)


def with_measured_rates(target: Target, dtype: str) -> Target:
    """`this_machine` with its rates in float32 and in `dtype`, and its bandwidth.

    Takes about a second.
    """
    flops = {name: measured_rate.product_rate(name) for name in dict.fromkeys((dtype, "float32"))}
    chip = target.chip._replace(flops=flops, bandwidth=measured_rate.memory_rate())
    return target._replace(chip=chip)


def of_one_host(devices: list[Any]) -> list[Any]:
    """Those of them that the first process drives."""
    return [device for device in devices if device.process_index == devices[0].process_index]

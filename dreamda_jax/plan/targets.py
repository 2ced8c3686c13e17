"""Accelerators by name: how many of which kind, and how they are linked.

What one of them can do is in `runtime/chips.py`. Names of TPU slices are Google's
(https://cloud.google.com/tpu/docs/v4, /v5e, /v5p, /v6e, /tpu7x).
"""

import difflib
import os
import re
from typing import Any, NamedTuple

import jax

from dreamda_jax.errors import UserError
from dreamda_jax.runtime.chips import CHIPS, Chip


class Target(NamedTuple):
    """What a job shall run on.

    Attributes:
      name: as it was asked for.
      family: what the name begins with: a key of `CHIPS`, or "cpu".
      chip: of which kind.
      num_devices: that JAX sees: chips of a TPU slice (of TPU7x their halves), cards.
      topology: arguments of `topologies.get_topology_desc` for all of them; None for the devices
        that are here.
    """

    name: str
    family: str
    chip: Chip
    num_devices: int
    topology: dict[str, Any] | None


_SHAPES_2D = {1: "1x1", 4: "2x2", 8: "2x4", 16: "4x4", 32: "4x8", 64: "8x8", 128: "8x16"}
_SHAPES_2D[256] = "16x16"
_SHAPES_3D = {4: "2x2x1", 8: "2x2x2", 16: "2x2x4", 32: "2x4x4", 64: "4x4x4", 128: "4x4x8"}
_SHAPES_3D |= {256: "4x8x8", 512: "8x8x8", 1024: "8x8x16", 2048: "8x16x16"}
# The number in a slice's name counts chips for some generations and TensorCores, two to a chip,
# for the others.
_CORES_PER_CHIP = {"v4": 2, "v5p": 2, "tpu7x": 2, "v5e": 1, "v6e": 1}
_DEVICES_PER_CHIP = {"tpu7x": 2}  # of the others a chip is one device, whatever is in it
_MOST_GPUS = 8  # of one machine
_OTHER_NAMES = {"v5litepod": "v5e", "v7x": "tpu7x", "a100-80gb": "a100"}


def parse_target(name: str) -> Target:
    """The accelerators of a name such as "v5e-16", "v4-8", "h100" or "h100x8".

    TPU slices have Google's names: the number counts chips (v5e, v6e) or TensorCores, two to a chip
    (v4, v5p, tpu7x). "v5litepod-16" is v5e-16, "v7x-8" tpu7x-8 and "a100-80gb" a100.

    Raises:
      UserError: no such target; the nearest is suggested and all are listed.
    """
    plain = name.strip().lower()
    for other, ours in _OTHER_NAMES.items():
        plain = plain.replace(other, ours)
    known = all_targets()
    if plain in known:
        return known[plain]
    near = difflib.get_close_matches(plain, known, n=1)
    number = re.search(r"[-x](\d+)$", plain)
    same = [target for target in known.values() if plain.startswith(target.family)]
    if number and same:  # such as v5e-12: the nearest number says more than the nearest spelling
        longest = max(len(target.family) for target in same)
        same = [target for target in same if len(target.family) == longest]
        near = [min(same, key=lambda target: abs(_number(target) - int(number[1]))).name]
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise UserError(f"unknown target {name!r}{hint} (there are: {_listed()}, cpu)")


def all_targets() -> dict[str, Target]:
    """Every target but "cpu", by name."""
    found = {}
    for family, chip in CHIPS.items():
        if chip.platform == "cuda":
            for count in range(1, _MOST_GPUS + 1):
                name = family if count == 1 else f"{family}x{count}"
                found[name] = Target(name, family, chip, count, {"topology": f"1x1x{count}"})
            continue
        cores = _CORES_PER_CHIP[family]
        for count, shape in (_SHAPES_3D if cores == 2 else _SHAPES_2D).items():
            options: dict[str, Any] = {"topology_name": f"{family}:{shape}"}
            if count == 1:
                options["chips_per_host_bounds"] = [1, 1, 1]
            if family == "v4":
                # As on Google's machines, where a chip's two cores are one device.
                options["chip_config_name"] = "megacore_dense"
            name = f"{family}-{count * cores}"
            num_devices = count * _DEVICES_PER_CHIP.get(family, 1)
            found[name] = Target(name, family, chip, num_devices, options)
    return found


def _number(target: Target) -> int:
    """That its name ends with."""
    found = re.fullmatch(r"[-x](\d+)", target.name.removeprefix(target.family))
    return int(found[1]) if found else 1


def _listed() -> str:
    slices, cards = [], []
    for family, chip in CHIPS.items():
        if chip.platform == "cuda":
            cards.append(family)
            continue
        numbers = [_number(other) for other in all_targets().values() if other.family == family]
        slices.append(f"{family}-{{{','.join(map(str, numbers))}}}")
    several = f"several of one kind: {cards[-1]}x2 … {cards[-1]}x{_MOST_GPUS}"
    return f"{', '.join(slices)}, {', '.join(cards)} ({several})"


def tell_jax(*, pretended_devices: int) -> None:
    """Sets what JAX reads when it starts: it compiles for a target and looks for no accelerator.

    Without effect once JAX has started.

    Args:
      pretended_devices: CPU devices to show in the place of a target's, for what only needs to be
        traced; 0: those that are here.
    """
    os.environ["JAX_PLATFORMS"] = "cpu"  # for everything but the target's compiler
    jax.config.update("jax_platforms", "cpu")  # it has read the variable as it was imported
    os.environ["TPU_SKIP_MDS_QUERY"] = "1"  # this is no TPU machine: do not wait for its metadata
    os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"  # no chip is taken, so plans may run at once
    # Of a machine that libtpu would otherwise miss, and say so; which one does not matter.
    os.environ["TPU_ACCELERATOR_TYPE"] = "v5litepod-4"
    os.environ["TPU_WORKER_HOSTNAMES"] = "localhost"
    os.environ.setdefault("TPU_STDERR_LOG_LEVEL", "3")
    os.environ.setdefault("TPU_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # A checkpoint is gigabytes, of which a plan needs a few numbers.
    os.environ["HF_HUB_OFFLINE"] = "1"
    if pretended_devices:
        flag = f"--xla_force_host_platform_device_count={pretended_devices}"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()

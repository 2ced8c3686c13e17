"""Accelerators by name: how many, how they are linked, what one can do.

Peak rates are the vendors', without sparsity:

- TPUs: https://cloud.google.com/tpu/docs/v4, /v5e, /v5p, /v6e. `memory` is what libtpu 0.0.42's
  compiler grants a program ("exceeds available HBM (15.75G)"), a little less than the chip has.
- GPUs: the data sheets of the SXM cards, https://www.nvidia.com/en-us/data-center/a100/, /h100/,
  /h200/ (half of the figure "with sparsity"). `memory` is what the card has; of it JAX takes
  `GPU_SHARE` unless told otherwise (https://docs.jax.dev/en/latest/gpu_memory_allocation.html).

In float32 JAX multiplies by default in one pass of bfloat16 on a TPU and in TF32 on these GPUs.
"""

import difflib
import os
import re
from typing import Any, NamedTuple

from dreamda_jax.errors import UserError

GPU_SHARE = 0.75
_GIB = 1 << 30


class Chip(NamedTuple):
    """What one device can do.

    Attributes:
      description: for a person.
      platform: "tpu", "cuda" or "cpu".
      memory: bytes that a program may take.
      flops: dense FLOP/s by dtype; empty where they are not known.
      bandwidth: of its memory, bytes/s; 0 where it is not known.
    """

    description: str
    platform: str
    memory: float
    flops: dict[str, float]
    bandwidth: float


class Target(NamedTuple):
    """What a job shall run on.

    Attributes:
      name: as it was asked for.
      chip: of which kind.
      num_devices: that JAX sees: chips of a TPU slice, cards.
      topology: arguments of `topologies.get_topology_desc` for all of them; None for the devices
        that are here.
    """

    name: str
    chip: Chip
    num_devices: int
    topology: dict[str, Any] | None


def _tpu(name: str, memory: float, teraflops: float, gigabytes: float) -> Chip:
    flops = {"bfloat16": teraflops * 1e12, "float32": teraflops * 1e12}
    return Chip(f"TPU {name}", "tpu", memory * _GIB, flops, gigabytes * 1e9)


def _gpu(name: str, memory: float, bf16: float, tf32: float, gigabytes: float) -> Chip:
    flops = {"bfloat16": bf16 * 1e12, "float32": tf32 * 1e12}
    return Chip(f"NVIDIA {name}", "cuda", memory * GPU_SHARE, flops, gigabytes * 1e9)


CHIPS = {
    "v4": _tpu("v4", 31.75, 275, 1200),
    "v5e": _tpu("v5e", 15.75, 197, 819),
    "v5p": _tpu("v5p", 95.74, 459, 2765),
    "v6e": _tpu("v6e", 31.25, 918, 1638),
    "a100": _gpu("A100 SXM 80 GB", 85_100_068_864, 312, 156, 2039),
    "h100": _gpu("H100 SXM 80 GB", 84_942_979_072, 989, 494, 3350),
    "h200": _gpu("H200 SXM 141 GB", 151_397_597_184, 989, 494, 4800),
}
"""By the name that targets begin with. `memory` of a GPU is the share that JAX takes."""

_SHAPES_2D = {1: "1x1", 4: "2x2", 8: "2x4", 16: "4x4", 32: "4x8", 64: "8x8", 128: "8x16"}
_SHAPES_2D[256] = "16x16"
_SHAPES_3D = {4: "2x2x1", 8: "2x2x2", 16: "2x2x4", 32: "2x4x4", 64: "4x4x4", 128: "4x4x8"}
_SHAPES_3D |= {256: "4x8x8", 512: "8x8x8", 1024: "8x8x16", 2048: "8x16x16"}
# The number in a slice's name counts chips for some generations and TensorCores, two to a chip,
# for the others.
_CORES_PER_CHIP = {"v4": 2, "v5p": 2, "v5e": 1, "v6e": 1}
_MOST_GPUS = 8  # of one machine: what is linked by NVLink


def parse_target(name: str) -> Target:
    """The accelerators of a name such as "v5e-16", "v4-8", "h100" or "h100x8".

    TPU slices have Google's names: the number counts chips (v5e, v6e) or TensorCores, two to a chip
    (v4, v5p). "v5litepod-16" is v5e-16.

    Raises:
      UserError: no such target; the nearest is suggested and all are listed.
    """
    plain = name.strip().lower().replace("v5litepod", "v5e")
    if plain in all_targets():
        return all_targets()[plain]
    known = list(all_targets())
    near = difflib.get_close_matches(plain, known, n=1)
    family = re.split(r"[-x]", plain)[0]
    if family in CHIPS:  # such as v5e-12: the nearest number says more than the nearest spelling
        number = re.search(r"\d+$", plain)
        same = [other for other in known if re.split(r"[-x]", other)[0] == family]
        if number:
            near = sorted(same, key=lambda other: abs(_number(other) - int(number[0])))[:1]
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise UserError(f"unknown target {name!r}{hint} (there are: {_listed()}, cpu)")


def all_targets() -> dict[str, Target]:
    """Every target but "cpu", by name."""
    found = {}
    for family, chip in CHIPS.items():
        if chip.platform == "cuda":
            for count in range(1, _MOST_GPUS + 1):
                name = family if count == 1 else f"{family}x{count}"
                found[name] = Target(name, chip, count, {"topology": f"1x1x{count}"})
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
            found[name] = Target(name, chip, count, options)
    return found


def _number(name: str) -> int:
    found = re.search(r"[-x](\d+)$", name)
    return int(found[1]) if found else 1


def _listed() -> str:
    families = []
    for family, chip in CHIPS.items():
        if chip.platform == "cuda":
            families.append(f"{family}, {family}x2 … {family}x{_MOST_GPUS}")
            continue
        numbers = [_number(name) for name in all_targets() if name.startswith(f"{family}-")]
        families.append(f"{family}-{{{','.join(map(str, numbers))}}}")
    return ", ".join(families)


def tell_jax(*, pretended_devices: int) -> None:
    """Sets what JAX reads when it starts: it compiles for a target and looks for no accelerator.

    Without effect once JAX has started.

    Args:
      pretended_devices: CPU devices to show in the place of a target's, for what only needs to be
        traced; 0: those that are here.
    """
    os.environ["JAX_PLATFORMS"] = "cpu"  # for everything but the target's compiler
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

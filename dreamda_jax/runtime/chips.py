"""What one device of a kind can do: the vendors' peak rates, memory, bandwidth, with their sources.

Rates are those of matrix products without sparsity (data sheets of NVIDIA print twice as much "with
sparsity"), with sums in float32: a GeForce card sums in float16 twice as fast. In float32 JAX
multiplies by default in one pass of bfloat16 on a TPU and in TF32 on GPUs that have it.

Memory of a TPU is what libtpu 0.0.42's compiler grants a program ("exceeds available HBM
(15.75G)"), a little less than the chip has. Memory of a GPU is what CUDA says the card has, of
which JAX takes `GPU_SHARE` unless told otherwise
(https://docs.jax.dev/en/latest/gpu_memory_allocation.html).
"""

from typing import NamedTuple

import jax

GPU_SHARE = 0.75
_GIB = 1 << 30
_NVIDIA = "https://www.nvidia.com/en-us/data-center"
_WHITE_PAPERS = "https://images.nvidia.com/aem-dam/Solutions/geforce"


class Chip(NamedTuple):
    """What one device can do.

    Attributes:
      description: for a person.
      platform: "tpu", "cuda" or "cpu".
      memory: bytes that a program may take.
      flops: dense FLOP/s by dtype of the operands; a dtype that no unit of the device multiplies is
        missing. Empty where nothing is known.
      bandwidth: of its memory, bytes/s; 0 where it is not known.
      source: where rates and bandwidth are from: an address, or words.
      kinds: its names in JAX (`jax.Device.device_kind`).
    """

    description: str
    platform: str
    memory: float
    flops: dict[str, float]
    bandwidth: float
    source: str
    kinds: tuple[str, ...] = ()

    def peak(self, dtype: str) -> float:
        """FLOP/s of products of `dtype`; float32's where no unit multiplies it.

        XLA then converts the operands (seen in the program it makes of a bfloat16 product for
        compute capability 7.5, a T4's: two conversions and a float32 product of cuBLAS).
        """
        return self.flops.get(dtype, self.flops["float32"])


def _tpu(
    name: str, memory: float, teraflops: float, gigabytes: float, *, page: str, kinds: list[str]
) -> Chip:
    flops = {"bfloat16": teraflops * 1e12, "float32": teraflops * 1e12}
    source = f"https://cloud.google.com/tpu/docs/{page}"
    return Chip(f"TPU {name}", "tpu", memory * _GIB, flops, gigabytes * 1e9, source, tuple(kinds))


def _gpu(
    name: str,
    memory: int,
    teraflops: dict[str, float],
    gigabytes: float,
    *,
    source: str,
    kinds: list[str],
) -> Chip:
    flops = {dtype: rate * 1e12 for dtype, rate in teraflops.items()}
    return Chip(
        f"NVIDIA {name}", "cuda", memory * GPU_SHARE, flops, gigabytes * 1e9, source, tuple(kinds)
    )


def _tensor(half: float, tf32: float) -> dict[str, float]:
    """TFLOP/s of tensor cores since compute capability 8.0, which take both halves as fast."""
    return {"bfloat16": half, "float16": half, "float32": tf32}


CHIPS = {
    "v4": _tpu("v4", 31.75, 275, 1200, page="v4", kinds=["TPU v4"]),
    "v5e": _tpu("v5e", 15.75, 197, 819, page="v5e", kinds=["TPU v5 lite", "TPU v5e"]),
    "v5p": _tpu("v5p", 95.74, 459, 2765, page="v5p", kinds=["TPU v5", "TPU v5p"]),
    "v6e": _tpu("v6e", 31.25, 918, 1638, page="v6e", kinds=["TPU v6 lite", "TPU v6e"]),
    # JAX sees a chip's two TensorCores as two devices, each with half of its memory: the page has
    # 2,307 TFLOP/s and 7,380 GB/s for a chip.
    "tpu7x": _tpu("v7x (half a chip)", 94.75, 2307 / 2, 7380 / 2, page="tpu7x", kinds=["TPU7x"]),
    # Turing's tensor cores know float16 only, and float32 is multiplied by its CUDA cores.
    "t4": _gpu(
        "T4",
        15_843_721_216,
        {"float16": 65, "float32": 8.1},
        320,
        source=f"{_NVIDIA}/tesla-t4/",
        kinds=["Tesla T4", "NVIDIA T4"],
    ),
    "l4": _gpu(
        "L4",
        23_583_784_960,
        _tensor(121, 60),
        300,
        source=f"{_NVIDIA}/l4/",
        kinds=["NVIDIA L4"],
    ),
    # The card of AWS's G5 machines: half of an A10's tensor cores.
    "a10g": _gpu(
        "A10G",
        22_587 << 20,
        _tensor(70, 35),
        600,
        source="https://d1.awsstatic.com/product-marketing/ec2/"
        "NVIDIA_AWS_A10G_DataSheet_FINAL_02_17_2022.pdf",
        kinds=["NVIDIA A10G"],
    ),
    # Peaks of GeForce cards are in the appendices of the white papers.
    "rtx4090": _gpu(
        "GeForce RTX 4090",
        24_563 << 20,
        _tensor(165.2, 82.6),
        1008,
        source=f"{_WHITE_PAPERS}/ada/nvidia-ada-gpu-architecture.pdf",
        kinds=["NVIDIA GeForce RTX 4090"],
    ),
    "rtx5090": _gpu(
        "GeForce RTX 5090",
        33_680_457_728,
        _tensor(209.5, 104.8),
        1792,
        source=f"{_WHITE_PAPERS}/blackwell/nvidia-rtx-blackwell-gpu-architecture.pdf",
        kinds=["NVIDIA GeForce RTX 5090"],
    ),
    "a100-40gb": _gpu(
        "A100 SXM 40 GB",
        42_331_013_120,
        _tensor(312, 156),
        1555,
        source=f"{_NVIDIA}/a100/",
        kinds=["NVIDIA A100-SXM4-40GB"],
    ),
    "a100": _gpu(
        "A100 SXM 80 GB",
        85_100_068_864,
        _tensor(312, 156),
        2039,
        source=f"{_NVIDIA}/a100/",
        kinds=["NVIDIA A100-SXM4-80GB"],
    ),
    "h100": _gpu(
        "H100 SXM 80 GB",
        84_942_979_072,
        _tensor(989, 494),
        3350,
        source=f"{_NVIDIA}/h100/",
        kinds=["NVIDIA H100 80GB HBM3"],
    ),
    "h200": _gpu(
        "H200 SXM 141 GB",
        151_397_597_184,
        _tensor(989, 494),
        4800,
        source=f"{_NVIDIA}/h200/",
        kinds=["NVIDIA H200", "NVIDIA H200 141GB HBM3e"],  # of the driver, and of OpenXLA's card
    ),
    # NVIDIA prints the rates of eight with sparsity: 36 and 18 PFLOP/s. The bandwidth is clock
    # times bus width as CUDA says them (https://github.com/openxla/xla,
    # xla/backends/gpu/target_config/specs/b200.txtpb), which others print as 8 TB/s.
    "b200": _gpu(
        "B200 SXM 180 GB",
        191_514_411_008,
        _tensor(2250, 1125),
        7672,
        source=f"{_NVIDIA}/hgx/",
        kinds=["NVIDIA B200"],
    ),
}
"""By the name that targets of `plan` begin with. `memory` of a GPU is the share that JAX takes."""

_BY_KIND = {kind: chip for chip in CHIPS.values() for kind in chip.kinds}


def chip_of(device: jax.Device) -> Chip | None:
    """What a device that is here can do, by its `device_kind`.

    The whole name has to be known: "NVIDIA H100 PCIe" and a slice of a card ("… MIG 1g.10gb") are
    slower than "NVIDIA H100 80GB HBM3".

    Returns:
      None for kinds that are not in `CHIPS`, such as "cpu": `measured_rate` can measure those.
    """
    return _BY_KIND.get(device.device_kind)

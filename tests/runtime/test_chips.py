import math
from types import SimpleNamespace

import jax
import pytest

from dreamda_jax.runtime.chips import CHIPS, chip_of

DATA_CENTER = ["l4", "a10g", "a100-40gb", "a100", "h100", "h200", "b200"]
GEFORCE = ["rtx4090", "rtx5090"]


@pytest.mark.parametrize("name", CHIPS)
def test_every_chip_has_rates_memory_and_a_source(name):
    chip = CHIPS[name]
    assert chip.platform in ("tpu", "cuda")
    assert "float32" in chip.flops  # `peak` falls back to it
    for dtype, rate in chip.flops.items():
        assert 1e12 < rate < 1e16, dtype
        assert chip.peak(dtype) == rate
    assert 10e9 < chip.memory < 1e12
    assert 100e9 < chip.bandwidth < 1e14
    assert chip.source.startswith("https://")
    assert chip.kinds


@pytest.mark.parametrize("name", DATA_CENTER + GEFORCE)
def test_rates_are_dense(name):
    """Since Ampere a tensor core multiplies bfloat16 twice as fast as TF32.

    A rate "with sparsity" beside one without would make it four times, or as fast.
    """
    flops = CHIPS[name].flops
    assert flops["bfloat16"] / flops["float32"] == pytest.approx(2, rel=0.02)


@pytest.mark.parametrize(
    ("name", "multiprocessors", "gigahertz", "per_clock"),
    [
        # Multiply-adds of bfloat16, summed in float32, of a multiprocessor in a clock:
        # https://docs.nvidia.com/cuda/cuda-c-programming-guide and the white papers of the
        # architectures; an A10G has half of an A10's, a GeForce card half of a data center's.
        ("a10g", 80, 1.71, 256),
        ("l4", 58, 2.04, 512),
        ("rtx4090", 128, 2.52, 256),
        ("rtx5090", 170, 2.407, 256),
        ("a100", 108, 1.41, 1024),
    ],
)
def test_rates_are_what_the_multiprocessors_make(name, multiprocessors, gigahertz, per_clock):
    made = 2 * multiprocessors * gigahertz * 1e9 * per_clock
    assert CHIPS[name].flops["bfloat16"] == pytest.approx(made, rel=0.01)


def test_what_no_unit_multiplies_has_the_rate_of_float32():
    chip = CHIPS["t4"]
    assert "bfloat16" not in chip.flops
    assert chip.peak("bfloat16") == chip.flops["float32"] < chip.flops["float16"]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA A100-SXM4-40GB", "a100-40gb"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA A10G", "a10g"),
        ("Tesla T4", "t4"),
        ("NVIDIA L4", "l4"),
        ("NVIDIA GeForce RTX 4090", "rtx4090"),
        ("NVIDIA GeForce RTX 5090", "rtx5090"),
        ("NVIDIA B200", "b200"),
        ("TPU v4", "v4"),
        ("TPU v5 lite", "v5e"),
        ("TPU v5", "v5p"),
        ("TPU v5p", "v5p"),
        ("TPU v6 lite", "v6e"),
        ("TPU7x", "tpu7x"),
    ],
)
def test_a_device_is_known_by_its_kind(kind, name):
    assert chip_of(SimpleNamespace(device_kind=kind)) is CHIPS[name]


@pytest.mark.parametrize(
    "kind",
    ["cpu", "NVIDIA H100 PCIe", "NVIDIA A100-SXM4-80GB MIG 1g.10gb", "NVIDIA A10", "TPU v3"],
)
def test_a_kind_that_is_only_similar_is_not_known(kind):
    assert chip_of(SimpleNamespace(device_kind=kind)) is None


def test_no_two_chips_claim_a_kind():
    kinds = [kind for chip in CHIPS.values() for kind in chip.kinds]
    assert len(kinds) == len(set(kinds))


def test_the_cpu_that_is_here_has_no_data_sheet():
    assert chip_of(jax.devices()[0]) is None


def test_the_half_of_a_chip_has_half_of_everything():
    whole = {"flops": 2307e12, "bandwidth": 7380e9, "memory": 192 * 2**30}
    half = CHIPS["tpu7x"]
    assert 2 * half.peak("bfloat16") == whole["flops"]
    assert 2 * half.bandwidth == whole["bandwidth"]
    assert math.isclose(2 * half.memory, whole["memory"], rel_tol=0.02)

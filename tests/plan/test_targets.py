import math
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from dreamda_jax.errors import UserError
from dreamda_jax.plan import targets
from dreamda_jax.plan.targets import parse_target
from dreamda_jax.runtime.chips import CHIPS, GPU_SHARE, chip_of
from tests.support.paths import ROOT

CARDS = Path(targets.__file__).parent / "cards"


@pytest.mark.parametrize(
    ("name", "num_devices", "topology"),
    [
        ("v5e-1", 1, "v5e:1x1"),
        ("v5e-16", 16, "v5e:4x4"),
        ("v5litepod-16", 16, "v5e:4x4"),
        ("V6E-256", 256, "v6e:16x16"),
        ("v4-8", 4, "v4:2x2x1"),  # TensorCores, two to a chip
        ("v5p-16", 8, "v5p:2x2x2"),
        ("v5p-4096", 2048, "v5p:8x16x16"),
        ("tpu7x-8", 8, "tpu7x:2x2x1"),  # JAX sees every TensorCore
        ("v7x-32", 32, "tpu7x:2x2x4"),
    ],
)
def test_slices_have_google_s_names(name, num_devices, topology):
    target = parse_target(name)
    assert target.num_devices == num_devices
    assert target.topology["topology_name"] == topology


def test_gpus_are_counted_behind_an_x():
    assert parse_target("h100").num_devices == 1
    eight = parse_target("h100x8")
    assert (eight.num_devices, eight.topology) == (8, {"topology": "1x1x8"})
    assert parse_target("a100x8").chip.description == "NVIDIA A100 SXM 80 GB"


@pytest.mark.parametrize(
    ("name", "family", "num_devices"),
    [
        ("a100-80gbx2", "a100", 2),
        ("a100-40gb", "a100-40gb", 1),
        ("A100-40GBx8", "a100-40gb", 8),
        ("rtx4090", "rtx4090", 1),  # an x that counts nothing
        ("rtx4090x4", "rtx4090", 4),
        ("tpu7x-16", "tpu7x", 16),
    ],
)
def test_a_target_knows_its_family(name, family, num_devices):
    target = parse_target(name)
    assert (target.family, target.num_devices) == (family, num_devices)
    assert target.chip is CHIPS[family]


def test_every_slice_has_as_many_chips_as_its_shape():
    for target in targets.all_targets().values():
        shape = (target.topology.get("topology_name") or target.topology["topology"]).split(":")[-1]
        devices = math.prod(map(int, shape.split("x"))) * (2 if target.family == "tpu7x" else 1)
        assert devices == target.num_devices, target.name


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("v5e-12", "v5e-8"),
        ("v5-16", "v5p-16"),
        ("v7x-12", "tpu7x-8"),
        ("h100x16", "h100x8"),
        ("h100-8", "h100x8"),
        ("h10", "h100"),
        ("a100-40gbx9", "a100-40gbx8"),
        ("a10", "a10g"),
        ("rtx4080", "rtx4090"),
        ("rtx4090x16", "rtx4090x8"),
    ],
)
def test_an_unknown_target_gets_the_nearest_and_the_list(name, meant):
    with pytest.raises(UserError, match=re.escape(f"{name!r}; did you mean {meant!r}?")) as caught:
        parse_target(name)
    for part in ("v5e-{1,4,8", "v4-{8,16", "t4, l4, a10g", "b200x2 … b200x8", "cpu"):
        assert part in str(caught.value)


def test_cards_say_what_the_table_says():
    """The compiler is told the same memory and bandwidth that the verdict is made with."""
    for name, chip in CHIPS.items():
        if chip.platform != "cuda":
            assert not (CARDS / f"{name}.txt").exists()
            continue
        text = (CARDS / f"{name}.txt").read_text()
        memory = int(re.search(r"device_memory_size: (\d+)", text)[1])
        bandwidth = int(re.search(r"memory_bandwidth: (\d+)", text)[1])
        kind = re.search(r'device_description_str: "(.*)"', text)[1]
        assert chip.memory == memory * GPU_SHARE
        # Clock times bus width against the data sheet's rounded figure.
        assert bandwidth == pytest.approx(chip.bandwidth, rel=2e-3)
        assert chip_of(SimpleNamespace(device_kind=kind)) is chip


def test_every_card_is_one_of_the_chips():
    assert {path.stem for path in CARDS.iterdir()} <= CHIPS.keys()


@pytest.mark.parametrize("platforms", ["cuda", "tpu", ""])
def test_plans_are_made_on_the_cpu_whatever_jax_is_told(platforms):
    code = (
        "import dreamda_jax.plan.__main__; from dreamda_jax.plan import targets; "
        "targets.tell_jax(pretended_devices=0); from dreamda_jax.plan import devices; "
        "print(devices.this_machine().chip.platform); import jax; print(jax.default_backend())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": platforms},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["cpu", "cpu"], done.stderr

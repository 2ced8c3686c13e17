import math
import re
from pathlib import Path

import pytest

from dreamda_jax.errors import UserError
from dreamda_jax.plan import targets
from dreamda_jax.plan.targets import parse_target

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


def test_every_slice_has_as_many_chips_as_its_shape():
    for target in targets.all_targets().values():
        shape = (target.topology.get("topology_name") or target.topology["topology"]).split(":")[-1]
        assert math.prod(map(int, shape.split("x"))) == target.num_devices, target.name


@pytest.mark.parametrize(
    ("name", "meant"),
    [("v5e-12", "v5e-8"), ("v5-16", "v5p-16"), ("h100x16", "h100x8"), ("h10", "h100")],
)
def test_an_unknown_target_gets_the_nearest_and_the_list(name, meant):
    with pytest.raises(UserError, match=re.escape(f"{name!r}; did you mean {meant!r}?")) as caught:
        parse_target(name)
    for part in ("v5e-{1,4,8", "v4-{8,16", "h100x2 … h100x8", "cpu"):
        assert part in str(caught.value)


def test_cards_say_what_the_table_says():
    """The compiler is told the same memory and bandwidth that the verdict is made with."""
    for name, chip in targets.CHIPS.items():
        if chip.platform != "cuda":
            assert not (CARDS / f"{name}.txt").exists()
            continue
        text = (CARDS / f"{name}.txt").read_text()
        memory = int(re.search(r"device_memory_size: (\d+)", text)[1])
        bandwidth = int(re.search(r"memory_bandwidth: (\d+)", text)[1])
        assert chip.memory == memory * targets.GPU_SHARE
        # Clock times bus width against the data sheet's rounded figure.
        assert bandwidth == pytest.approx(chip.bandwidth, rel=2e-3)

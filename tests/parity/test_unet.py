"""Our U-Net against PyTorch diffusers' on the same weights, over configurations drawn at random.

    pytest -m parity -n 0 -s tests/parity/test_unet.py
    PARITY_EXAMPLES=200 pytest -m parity -n 0 -s tests/parity/test_unet.py

`-s` shows each configuration with three distances, all in parts of the largest |output|: ours from
PyTorch, PyTorch's from itself in float64, and ours from that.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.drawn_unets import (
    build_unet,
    flax_shapes,
    load_tensors,
    predict,
    torch_shapes,
    torch_tensors,
    unet_inputs,
)

hypothesis = pytest.importorskip("hypothesis")
torch = pytest.importorskip("torch")
from diffusers import UNet2DConditionModel  # noqa: E402
from diffusers.utils import logging  # noqa: E402
from hypothesis import HealthCheck, Phase, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

logging.set_verbosity_error()  # "modules that should be kept in float32: []", at each cast

pytestmark = pytest.mark.parity

EXAMPLES = int(os.environ.get("PARITY_EXAMPLES", "10"))
TOLERANCE = 2e-5
WORST = {"ours from PyTorch": 0.0, "PyTorch from float64": 0.0, "ours from float64": 0.0}
_BY_OUR_NAME = {"sample": "sample", "timesteps": "timestep", "timestep_cond": "timestep_cond"}
_BY_OUR_NAME["encoder_hidden_states"] = "encoder_hidden_states"


@st.composite
def configurations(draw: Any) -> dict[str, Any]:
    """A unet/config.json of one to four blocks."""
    count = draw(st.integers(1, 4))

    def for_blocks(low: int, high: int) -> Any:
        number = st.integers(low, high)
        return draw(number | st.lists(number, min_size=count, max_size=count))

    def kinds(direction: str) -> list[str]:
        kind = st.sampled_from([f"CrossAttn{direction}Block2D", f"{direction}Block2D"])
        return draw(st.lists(kind, min_size=count, max_size=count))

    widths = st.integers(1, 4).map(lambda number: 32 * number)
    config = {
        "block_out_channels": draw(st.lists(widths, min_size=count, max_size=count)),
        "down_block_types": kinds("Down"),
        "up_block_types": kinds("Up"),
        "layers_per_block": for_blocks(1, 2),
        "transformer_layers_per_block": for_blocks(1, 3),
        "attention_head_dim": for_blocks(1, 8),  # which is how many heads there are
        "cross_attention_dim": draw(st.sampled_from([16, 48])),
        "use_linear_projection": draw(st.booleans()),
        "upcast_attention": draw(st.booleans()),
        "norm_num_groups": draw(st.sampled_from([4, 8, 16])),
        "norm_eps": draw(st.sampled_from([1e-5, 1e-6])),
        "flip_sin_to_cos": draw(st.booleans()),
        "freq_shift": draw(st.integers(0, 1)),
        "time_cond_proj_dim": draw(st.sampled_from([None, 24])),
    }
    if draw(st.booleans()):
        config["addition_embed_type"] = "text_time"
        config["addition_time_embed_dim"] = 8
        config["projection_class_embeddings_input_dim"] = 6 * 8 + 20
    return config


@st.composite
def cases(draw: Any) -> tuple[dict[str, Any], dict[str, int], dict[str, float]]:
    """(configuration, sizes of its inputs, arguments of `torch_tensors`)."""
    sides = st.just((1, 1)) | st.tuples(st.integers(1, 16), st.integers(1, 16))
    height, width = draw(sides)
    sizes = {"rows": draw(st.integers(1, 2)), "height": height, "width": width}
    sizes["tokens"] = draw(st.integers(1, 20))
    weights = {
        "seed": draw(st.integers(0, 2**31)),
        "gain": draw(st.sampled_from([1.0, 2.0])),
        "offset": draw(st.sampled_from([0.0, 1.0, 3.0])),
    }
    return draw(configurations()), sizes, weights


def pytorch(config: dict[str, Any], tensors: Any, inputs: Any, dtype: Any) -> np.ndarray:
    """Output of diffusers' module on the same weights and inputs."""
    with torch.device("meta"):  # no weights of its own, which would take as long as all else
        unet = UNet2DConditionModel(**config).eval()
    state = {name: torch.from_numpy(tensor).to(dtype) for name, tensor in tensors.items()}
    unet.load_state_dict(state, assign=True)
    arrays = {name: torch.from_numpy(array).to(dtype) for name, array in inputs.items()}
    arguments = {_BY_OUR_NAME[n]: array for n, array in arrays.items() if n in _BY_OUR_NAME}
    arguments["timestep"] = torch.from_numpy(inputs["timesteps"])
    if "text_embeds" in arrays:
        added = {name: arrays[name] for name in ("text_embeds", "time_ids")}
        arguments["added_cond_kwargs"] = added
    with torch.no_grad():
        return unet(**arguments).sample.numpy()


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(cases())
def test_any_configuration_equals_pytorch(case):
    config, sizes, weights = case
    inputs = unet_inputs(config, **sizes, seed=weights["seed"])
    unet = build_unet(config)
    shapes = flax_shapes(unet, inputs)
    with torch.device("meta"):
        theirs = UNet2DConditionModel(**config).state_dict()
    wanted = {name: tuple(tensor.shape) for name, tensor in theirs.items()}
    assert torch_shapes(shapes) == wanted
    tensors = torch_tensors(wanted, **weights)
    with tempfile.TemporaryDirectory() as directory:
        ours = predict(unet, load_tensors(tensors, shapes, Path(directory)), inputs)
    single = pytorch(config, tensors, inputs, torch.float32)
    double = pytorch(config, tensors, inputs, torch.float64)
    assert ours.shape == single.shape
    largest = np.abs(double).max()
    pairs = ((ours, single), (single, double), (ours, double))
    found = [float(np.abs(a - b).max() / largest) for a, b in pairs]
    for name, distance in zip(WORST, found, strict=True):
        WORST[name] = max(WORST[name], distance)
    shown = ", ".join(f"{name} {each:.1e}" for name, each in zip(WORST, found, strict=True))
    worst = ", ".join(f"{each:.1e}" for each in WORST.values())
    print(f"{shown} (so far {worst}): {sizes} {weights} {config}", flush=True)
    assert found[0] <= TOLERANCE, case

"""Weights and inputs of any U-Net, the same numbers with torch and without.

Weights are PyTorch's initialisation, U(±1/√fan_in) for weights and biases, with a gain (so that
attention is not all but uniform), with biases that are further from nought (so that norms see means
which are not), and with norms that do something.
"""

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

from dreamda_jax.models.flax_modules import build_module
from dreamda_jax.models.stable_diffusion.networks.unet import FlaxUNet2DConditionModel
from dreamda_jax.models.stable_diffusion.supported_configs import check_unet_module
from dreamda_jax.models.weights.load import load_weights
from dreamda_jax.models.weights.torch_layout import torch_name, torch_shape

Config = Mapping[str, Any]


def torch_tensors(
    shapes: Mapping[str, tuple[int, ...]], *, seed: int, gain: float = 1.0, offset: float = 0.0
) -> dict[str, np.ndarray]:
    """float32, by PyTorch's names; each tensor has a generator of its own.

    Args:
      shapes: in PyTorch's layout.
      seed: of all of them.
      gain: what weights of layers are multiplied by.
      offset: biases of layers get another U(±offset), but for the last layer's, which nothing
        normalises.
    """
    tensors = {}
    for name, shape in shapes.items():
        generator = np.random.default_rng([seed, zlib.crc32(name.encode())])
        unit = generator.uniform(-1, 1, shape)
        layer, _, leaf = name.rpartition(".")
        kernel = shapes[f"{layer}.weight"]
        if len(kernel) == 1:  # a norm
            tensor = 0.3 * unit + (leaf == "weight")
        else:
            tensor = unit * np.prod(kernel[1:]) ** -0.5
            if leaf == "weight":
                tensor = gain * tensor
            elif layer != "conv_out":
                tensor = tensor + offset * generator.uniform(-1, 1, shape)
        tensors[name] = tensor.astype(np.float32)
    return tensors


def unet_inputs(
    config: Config, *, rows: int, height: int, width: int, tokens: int, seed: int
) -> dict[str, np.ndarray]:
    """float32 arrays by the names of our module's arguments; timesteps are whole numbers."""
    generator = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return generator.standard_normal((rows, *shape), np.float32)

    inputs = {
        "sample": normal(config.get("in_channels", 4), height, width),
        "timesteps": generator.integers(0, 1000, rows).astype(np.float32),
        "encoder_hidden_states": normal(tokens, config["cross_attention_dim"]),
    }
    if config.get("addition_embed_type") == "text_time":
        sizes = 6 * config["addition_time_embed_dim"]
        inputs["text_embeds"] = normal(config["projection_class_embeddings_input_dim"] - sizes)
        inputs["time_ids"] = generator.integers(0, 1024, (rows, 6)).astype(np.float32)
    if config.get("time_cond_proj_dim") is not None:
        inputs["timestep_cond"] = normal(config["time_cond_proj_dim"])
    return inputs


def build_unet(config: Config, dtype: str = "float32") -> FlaxUNet2DConditionModel:
    """Our module, its configuration checked."""
    check_unet_module(config)
    unet: FlaxUNet2DConditionModel = build_module(
        FlaxUNet2DConditionModel, config, dtype=jnp.dtype(dtype)
    )
    return unet


def flax_shapes(
    unet: FlaxUNet2DConditionModel, inputs: Mapping[str, np.ndarray]
) -> dict[tuple[str, ...], jax.ShapeDtypeStruct]:
    """Of its parameters, by their path."""
    made = jax.eval_shape(lambda: unet.init(jax.random.key(0), **inputs))
    return dict(flax.traverse_util.flatten_dict(made["params"]))


def torch_shapes(
    shapes: Mapping[tuple[str, ...], jax.ShapeDtypeStruct],
) -> dict[str, tuple[int, ...]]:
    """The same by PyTorch's names and in its layout."""
    return {torch_name(path): torch_shape(path[-1], x.shape) for path, x in shapes.items()}


def load_tensors(
    tensors: Mapping[str, np.ndarray],
    shapes: Mapping[tuple[str, ...], jax.ShapeDtypeStruct],
    directory: Path,
    dtype: str = "float32",
) -> Any:
    """Flax parameters of PyTorch's tensors, by way of a safetensors file and our loader."""
    file = directory / "diffusion_pytorch_model.safetensors"
    save_file(dict(tensors), file)
    return load_weights([file], shapes, dtype=jnp.dtype(dtype))


def predict(
    unet: FlaxUNet2DConditionModel, params: Any, inputs: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Its output, float32."""
    output = jax.jit(unet.apply)({"params": params}, **inputs)
    return np.asarray(output, np.float32)

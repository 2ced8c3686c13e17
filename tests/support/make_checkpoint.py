"""Write a random-weight Stable Diffusion checkpoint in diffusers' layout, with PyTorch's names.

Without torch: shapes come from the abstract Flax parameters, names from
`models.weights.torch_layout`, and tensors are streamed into safetensors files one at a time, so the
memory needed is that of the largest tensor. Every tensor has its own generator, seeded by its
name, so the weights do not depend on the order of anything.

    python -m tests.support.make_checkpoint --size sd15 --output /tmp/random_sd15     # 2.1 GB
"""

import argparse
import json
import shutil
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import flax.traverse_util
import ml_dtypes
import numpy as np

from dreamda_jax.models.stable_diffusion import model as stable_diffusion
from dreamda_jax.models.weights.torch_layout import torch_name
from dreamda_jax.plan.known_configs import SD15, SD21, KnownConfigs
from tests.support.paths import SAMPLE

TINY_SD = SAMPLE / "tiny_sd"

# Stable Diffusion 2 in miniature: v-prediction, linear projections, head counts per block, exact
# GELU in the text encoder, "!" as padding. 32x32 images, 4x8x8 latents.
TINY_SD2 = KnownConfigs(
    unet={
        **SD21.unet,
        "attention_head_dim": [1, 2, 4],
        "block_out_channels": [32, 64, 64],
        "cross_attention_dim": 48,
        "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        "layers_per_block": 1,
        "sample_size": 8,
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    },
    vae={
        **SD21.vae,
        "block_out_channels": [16, 32, 32],
        "down_block_types": ["DownEncoderBlock2D"] * 3,
        "layers_per_block": 1,
        "norm_num_groups": 8,
        "sample_size": 32,
        "up_block_types": ["UpDecoderBlock2D"] * 3,
    },
    text_encoder={
        **SD21.text_encoder,
        "bos_token_id": 633,
        "eos_token_id": 634,
        "hidden_size": 48,
        "intermediate_size": 96,
        "max_position_embeddings": 16,
        "num_attention_heads": 3,
        "num_hidden_layers": 2,
        "projection_dim": 48,
        "vocab_size": 635,
    },
    scheduler={**SD21.scheduler},
)
SIZES = {"sd15": SD15, "sd21": SD21, "tiny_sd2": TINY_SD2}

_FILES = {
    "unet": "unet/diffusion_pytorch_model.safetensors",
    "vae": "vae/diffusion_pytorch_model.safetensors",
    "text_encoder": "text_encoder/model.safetensors",
}
_DTYPES = {"float32": ("F32", np.float32), "float16": ("F16", np.float16)}
_DTYPES["bfloat16"] = ("BF16", ml_dtypes.bfloat16)


def make_checkpoint(
    directory: Path,
    *,
    unet_config: Mapping[str, Any],
    vae_config: Mapping[str, Any],
    text_config: Mapping[str, Any],
    scheduler_config: Mapping[str, Any] = SD15.scheduler,
    pad_token: str = "<|endoftext|>",
    dtype: str = "float16",
    seed: int = 0,
) -> None:
    """Write the checkpoint: fan-in-scaled uniform weights, norms near 1, biases near 0."""
    model = stable_diffusion.from_configs(
        unet_config=unet_config,
        vae_config=vae_config,
        text_config=text_config,
        scheduler_config=scheduler_config,
    )
    for name, tree in stable_diffusion.abstract_params(model).items():
        file = directory / _FILES[name]
        file.parent.mkdir(parents=True, exist_ok=True)
        shapes = {path: leaf.shape for path, leaf in flax.traverse_util.flatten_dict(tree).items()}
        _write_safetensors(file, shapes, dtype=dtype, seed=seed)
    _write_json(directory / "unet/config.json", unet_config)
    _write_json(directory / "vae/config.json", vae_config)
    _write_json(directory / "text_encoder/config.json", text_config)
    _write_json(directory / "scheduler/scheduler_config.json", scheduler_config)
    shutil.copy(TINY_SD / "model_index.json", directory)
    shutil.copytree(TINY_SD / "tokenizer", directory / "tokenizer", dirs_exist_ok=True)
    tokenizer = json.loads((TINY_SD / "tokenizer/tokenizer_config.json").read_text())
    tokenizer |= {"model_max_length": model.num_tokens, "pad_token": pad_token}
    _write_json(directory / "tokenizer/tokenizer_config.json", tokenizer)
    special = json.loads((TINY_SD / "tokenizer/special_tokens_map.json").read_text())
    _write_json(directory / "tokenizer/special_tokens_map.json", special | {"pad_token": pad_token})


def make_tiny_sd2(directory: Path) -> Path:
    """The checkpoint behind tests/reference/model_tiny_sd2.npz, float32; returns its directory."""
    make_checkpoint(
        directory,
        unet_config=TINY_SD2.unet,
        vae_config=TINY_SD2.vae,
        text_config=TINY_SD2.text_encoder,
        scheduler_config=TINY_SD2.scheduler,
        pad_token="!",
        dtype="float32",
    )
    return directory


def random_tensor(path: tuple[str, ...], shape: tuple[int, ...], *, seed: int) -> np.ndarray:
    """One float32 tensor in PyTorch's layout."""
    if len(shape) == 4:
        shape = (shape[3], shape[2], shape[0], shape[1])
    elif path[-1] == "kernel":
        shape = shape[::-1]
    rng = np.random.default_rng([seed, zlib.crc32("/".join(path).encode())])
    unit = (rng.random(shape, np.float32) - 0.5) * np.float32(12**0.5)
    if path[-1] == "kernel":
        return unit * np.float32(np.prod(shape[1:]) ** -0.5)
    return unit * np.float32(0.02) + np.float32(path[-1] == "scale")


def _write_safetensors(
    file: Path, shapes: Mapping[tuple[str, ...], tuple[int, ...]], *, dtype: str, seed: int
) -> None:
    tag, numpy_dtype = _DTYPES[dtype]
    item = np.dtype(numpy_dtype).itemsize
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for path, shape, torch_shape in _layout(shapes):
        end = offset + int(np.prod(shape)) * item
        header[torch_name(path)] = {
            "dtype": tag,
            "shape": torch_shape,
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        for path, shape in shapes.items():
            stream.write(random_tensor(path, shape, seed=seed).astype(numpy_dtype).tobytes())


def _layout(
    shapes: Mapping[tuple[str, ...], tuple[int, ...]],
) -> Iterator[tuple[tuple[str, ...], tuple[int, ...], list[int]]]:
    for path, shape in shapes.items():
        if len(shape) == 4:
            yield path, shape, [shape[3], shape[2], shape[0], shape[1]]
        else:
            yield path, shape, list(shape[::-1] if path[-1] == "kernel" else shape)


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(dict(content), indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="sd15")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--dtype", choices=_DTYPES, default="float16")
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    configs = SIZES[flags.size]
    make_checkpoint(
        flags.output,
        unet_config=configs.unet,
        vae_config=configs.vae,
        text_config=configs.text_encoder,
        scheduler_config=configs.scheduler,
        pad_token="<|endoftext|>" if flags.size == "sd15" else "!",
        dtype=flags.dtype,
        seed=flags.seed,
    )
    print(f"wrote {flags.output}")

"""From Flax parameters to PyTorch's names and layout: the inverse of `weights`."""

import re
from collections.abc import Mapping

import numpy as np

from dreamda_jax.models.weights.torch_layout import torch_axes

_LISTS = re.compile(r"(blocks|attentions|resnets|samplers|net|to_out)_(\d+)(?=\.)")
_VAE_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_LEAVES = {"kernel": "weight", "scale": "weight", "embedding": "weight"}


def torch_name(path: tuple[str, ...]) -> str:
    """PyTorch's name of a Flax parameter of diffusers or transformers.

    Args:
      path: such as ("down_blocks_0", "resnets_1", "conv1", "kernel").

    Returns:
      Such as "down_blocks.0.resnets.1.conv1.weight".
    """
    name = _LISTS.sub(r"\1.\2", ".".join(path))
    *modules, leaf = name.split(".")
    if modules:
        modules[-1] = _VAE_ATTENTION.get(modules[-1], modules[-1])
    return ".".join([*modules, _LEAVES.get(leaf, leaf)])


def to_torch(flat: Mapping[tuple[str, ...], np.ndarray]) -> dict[str, np.ndarray]:
    """A state dict of flat Flax parameters: kernels transposed, everything else as it is."""
    return {
        torch_name(path): np.ascontiguousarray(array.transpose(torch_axes(path[-1], array.ndim)))
        for path, array in flat.items()
    }

"""PyTorch's names and shapes of a network's tensors: what fits, and Flax parameters under them."""

import re
from collections.abc import Callable, Mapping

import numpy as np

from dreamda_jax.errors import UserError
from dreamda_jax.models.weights.load import flax_axes
from dreamda_jax.models.weights.names import LEAVES, VAE_ATTENTION, some

Shapes = Mapping[str, tuple[int, ...]]
"""By name, in PyTorch's layout."""


_LISTS = re.compile(r"(blocks|attentions|resnets|samplers|net|to_out)_(\d+)(?=\.)")


def misfits(found: Shapes, want: Shapes, *, optional: Shapes | None = None) -> str:
    """What is missing, unexpected or of another shape, in words; empty if everything fits.

    Args:
        found: what the file holds.
        want: what the network needs.
        optional: what the file may hold besides.
    """
    known = {**want, **(optional or {})}
    missing = [name for name in want if name not in found]
    unexpected = [name for name in found if name not in known]
    reshaped = [
        f"{name} {found[name]} instead of {shape}"
        for name, shape in known.items()
        if name in found and found[name] != shape
    ]
    problems = []
    if missing:
        problems.append(f"{len(missing)} of {len(want)} tensors are missing: {some(missing)}")
    if unexpected:
        problems.append(f"{len(unexpected)} tensors are unexpected: {some(unexpected)}")
    if reshaped:
        problems.append(f"{len(reshaped)} tensors have another shape: {some(reshaped)}")
    return "; ".join(problems)


def renamed(tensors: Mapping[str, np.ndarray], name: Callable[[str], str]) -> dict[str, np.ndarray]:
    """Tensors under other names.

    Args:
        tensors: by their names.
        name: what one is to be called.

    Raises:
        UserError: two of them would have one name.
    """
    found: dict[str, str] = {}
    for old in tensors:
        if (other := found.setdefault(name(old), old)) != old:
            raise UserError(
                f"{other} and {old} are names of one parameter, {name(old)}. Which of the two is "
                "meant cannot be known."
            )
    return {new: tensors[old] for new, old in found.items()}


def torch_axes(leaf: str, rank: int) -> tuple[int, ...]:
    """Flax's axes in PyTorch's order, of a parameter named `leaf`: the inverse of `flax_axes`."""
    return tuple(int(axis) for axis in np.argsort(flax_axes(leaf, rank)))


def torch_shape(leaf: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape PyTorch gives what Flax gives `shape`."""
    return tuple(shape[axis] for axis in torch_axes(leaf, len(shape)))


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
        modules[-1] = VAE_ATTENTION.get(modules[-1], modules[-1])
    return ".".join([*modules, LEAVES.get(leaf, leaf)])


def to_torch(flat: Mapping[tuple[str, ...], np.ndarray]) -> dict[str, np.ndarray]:
    """A state dict of flat Flax parameters: kernels transposed, everything else as it is."""
    return {
        torch_name(path): np.ascontiguousarray(array.transpose(torch_axes(path[-1], array.ndim)))
        for path, array in flat.items()
    }

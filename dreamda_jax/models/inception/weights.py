"""Weights of FID's Inception-v3: a converted safetensors file to Flax variables, no torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.traverse_util
import jax
import numpy as np

from dreamda_jax.data.files.regular import check_regular
from dreamda_jax.errors import UserError
from dreamda_jax.models.weights.load import Place, read_tensor
from dreamda_jax.models.weights.safetensors_file import StoredTensor, list_tensors
from dreamda_jax.models.weights.shards import PICKLED_SUFFIXES
from dreamda_jax.models.weights.torch_layout import misfits, torch_shape

NUM_CLASSES = 1008

_PUBLISHED = "pt_inception-2015-12-05-6726825d.pth"
_CONVERTED = "inception-2015-12-05.safetensors"
_WITHOUT = "To do without Inception, measure with CLIP features: --config.evaluate.extractor=clip"
_LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
# The classifier is not applied, but a file that has it must have that of this network.
_HEAD = {"fc.weight": (NUM_CLASSES, 2048), "fc.bias": (NUM_CLASSES,)}
_IMAGENET_CLASSES = 1000


def tensor_name(path: tuple[str, ...]) -> str:
    """PyTorch's name of a variable.

    ("batch_stats", "Mixed_5b", "branch1x1", "bn", "mean") -> "Mixed_5b.branch1x1.bn.running_mean"
    """
    _, *modules, leaf = path
    return ".".join([*modules, _LEAVES.get(leaf, leaf)])


def load_inception(file: Path, shapes: Mapping[str, Any], *, place: Place) -> dict[str, Any]:
    """Load the network's variables.

    Args:
        file: a safetensors file with the names of torch-fidelity's and pytorch-fid's state dicts,
            which are the same. `num_batches_tracked` is ignored, `fc` may be absent.
        shapes: the module's variables as `jax.ShapeDtypeStruct`.
        place: puts one array on the device(s); called once per tensor.

    Returns:
        {"params": ..., "batch_stats": ...} of the arrays that `place` returned, float32.

    Raises:
        UserError: no such file, it is pickled, damaged or quantised, tensors are missing,
            unexpected, of another shape (torchvision's network is named as such), or not finite.
    """
    if not check_regular(file).is_file():
        raise UserError(f"{file}: no such file. {how_to_get()}")
    if file.suffix in PICKLED_SUFFIXES:
        raise UserError(
            f"{file}: pickled weights are refused, because unpickling runs code from the file. "
            f"Convert them once, in an environment with torch:\n{_how_to_convert(file)}\n{_WITHOUT}"
        )
    tensors = {
        tensor.name: tensor
        for tensor in list_tensors(file)
        if not tensor.name.endswith("num_batches_tracked")
    }
    expected = flax.traverse_util.flatten_dict(shapes)
    _check_fit(file, tensors, expected)
    loaded = {}
    for path, leaf in expected.items():
        tensor = tensors[tensor_name(path)]
        array = read_tensor(tensor, leaf=path[-1], shape=leaf.shape, dtype=np.float32)
        # Transfers are asynchronous: without waiting, many source arrays would be alive at once.
        loaded[path] = jax.block_until_ready(place(array))
    return flax.traverse_util.unflatten_dict(loaded)


def _check_fit(
    file: Path,
    tensors: Mapping[str, StoredTensor],
    expected: Mapping[tuple[str, ...], jax.ShapeDtypeStruct],
) -> None:
    if _is_torchvision(tensors):
        raise UserError(
            f"{file}: the Inception-v3 that torchvision and timm trained on ImageNet "
            f"({_IMAGENET_CLASSES} classes, AuxLogits). FID is defined by another network of that "
            f"name, TensorFlow's of 2015 with {NUM_CLASSES} classes. {how_to_get()}"
        )
    want = {tensor_name(path): torch_shape(path[-1], leaf.shape) for path, leaf in expected.items()}
    problems = misfits(
        {name: tensor.shape for name, tensor in tensors.items()}, want, optional=_HEAD
    )
    if problems:
        raise UserError(
            f"{file}: not the weights of FID's Inception-v3. {problems}. {how_to_get()}"
        )


def _is_torchvision(tensors: Mapping[str, StoredTensor]) -> bool:
    head = tensors.get("fc.weight")
    return any(name.startswith("AuxLogits.") for name in tensors) or (
        head is not None and head.shape[:1] == (_IMAGENET_CLASSES,)
    )


def how_to_get() -> str:
    """Where the published weights are, and how they become a safetensors file."""
    return (
        f"Download {_PUBLISHED} from the releases of github.com/mseitzer/pytorch-fid (tag "
        f"fid_weights), or {_PUBLISHED.replace('pt_', 'weights-')} from those of "
        "github.com/toshas/torch-fidelity (tag v0.2.0), and convert it once, in an environment "
        f"with torch:\n{_how_to_convert(Path(_PUBLISHED))}\n{_WITHOUT}"
    )


def _how_to_convert(file: Path) -> str:
    return (
        "    import safetensors.torch, torch\n"
        f'    weights = torch.load("{file}", map_location="cpu", weights_only=True)\n'
        f'    safetensors.torch.save_file(weights, "{_CONVERTED}")\n'
        f"and give --config.evaluate.inception_weights={_CONVERTED}."
    )

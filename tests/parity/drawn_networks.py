"""What the comparisons of drawn networks with PyTorch's have in common."""

import math
import os
from pathlib import Path

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from dreamda_jax.models.weights.load import load_weights
from dreamda_jax.models.weights.names import Leeway

hypothesis = pytest.importorskip("hypothesis")

drawn_again = hypothesis.settings(
    max_examples=int(os.environ.get("PARITY_EXAMPLES", "10")), deadline=None, database=None
)
"""Draws so many networks."""

TOLERANCE = 2e-5
"""Of the largest |output|, in float32."""


def fill(module, seed):
    """Give a PyTorch module weights under which every layer matters.

    Norms near 1, biases and embeddings of a fifth, everything else by its fan-in.
    """
    import torch

    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, tensor in sorted(module.state_dict().items()):
            if not tensor.is_floating_point():
                continue
            values = np.asarray(rng.standard_normal(tuple(tensor.shape)), np.float32)
            if "norm" in name or "layrnorm" in name:
                values = 0.2 * values + name.endswith("weight")
            elif tensor.ndim < 2:
                values = 0.2 * values
            elif "patch" in name or "embedding" not in name:
                values = values / math.sqrt(values[0].size)
            tensor.copy_(torch.from_numpy(np.asarray(values)))
    return module.eval()


def our_params(torch_module, module, *inputs, directory, leeway=None):
    """The weights of a PyTorch module as ours takes them, by a file and the package's loader."""
    file = Path(directory) / "weights.safetensors"
    state = torch_module.state_dict()
    save_file({name: tensor.contiguous().numpy() for name, tensor in state.items()}, file)
    variables = jax.eval_shape(module.init, jax.random.key(0), *inputs)
    expected = flax.traverse_util.flatten_dict(variables["params"])
    return load_weights([file], expected, dtype=jnp.float32, leeway=leeway or Leeway())


class Worst:
    """The largest distances that were seen, by what was compared."""

    def __init__(self):
        self._ours, self._theirs, self._count = {}, {}, {}

    def check(self, name, ours, single, double):
        """Compare an output with PyTorch's in float32, and that with float64 on the way."""
        ours = np.asarray(ours)
        single, double = single.detach().numpy(), double.detach().numpy()
        assert ours.shape == single.shape
        assert ours.dtype == single.dtype == np.float32
        scale = np.abs(double).max()
        error = np.abs(ours - single).max() / scale
        own = np.abs(single - double).max() / scale
        self._ours[name] = max(error, self._ours.get(name, 0))
        self._theirs[name] = max(own, self._theirs.get(name, 0))
        self._count[name] = self._count.get(name, 0) + 1
        assert error < TOLERANCE, f"{name}: {error:.2g}; PyTorch is {own:.2g} from float64"

    def report(self):
        """Print a line for each output."""
        for name, error in self._ours.items():
            print(
                f"\n{name}: {error:.2g} of the largest output from PyTorch in {self._count[name]} "
                f"networks; PyTorch {self._theirs[name]:.2g} from its own float64",
                end="",
            )

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
    max_examples=int(os.environ.get("PARITY_EXAMPLES", "10")),
    deadline=None,
    database=None,
    phases=[hypothesis.Phase.generate],  # a smaller network says nothing more, and takes minutes
)
"""Draws so many networks."""

TOLERANCE = 2e-5
"""Of the largest |output|, in float32, for networks that PyTorch computes to half of it."""


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
        self._seen = {}

    def check(self, name, ours, single, double):
        """Compare an output with PyTorch's in float32, and that with its own in float64.

        Some drawn networks have norms of features that are nearly equal. What is left of them is
        rounding, in PyTorch as well: there ours may be twice as far from PyTorch as it is from
        itself.
        """
        ours = np.asarray(ours)
        single, double = single.detach().numpy(), double.detach().numpy()
        assert ours.shape == single.shape
        assert ours.dtype == single.dtype == np.float32
        scale = np.abs(double).max()
        error = np.abs(ours - single).max() / scale
        own = np.abs(single - double).max() / scale
        exact = np.abs(ours - double).max() / scale
        self._seen.setdefault(name, []).append((error, own, exact))
        assert error < max(TOLERANCE, 2 * own), f"{name}: {error:.2g}; PyTorch itself {own:.2g}"

    def report(self):
        """Print two lines for each output."""
        for name, seen in self._seen.items():
            found = np.array(seen)
            rough = found[:, 1] > TOLERANCE / 2
            for what, rows in (
                ("", found[~rough]),
                (", in which PyTorch rounds more", found[rough]),
            ):
                if len(rows):
                    error, own, exact = rows.max(axis=0)
                    print(
                        f"\n{name}, {len(rows)} outputs{what}: at most {error:.2g} from PyTorch, "
                        f"PyTorch {own:.2g} and ours {exact:.2g} from float64",
                        end="",
                    )

"""Parameters of a module from the weights that a reference's script made, by PyTorch's names."""

import flax.traverse_util
import jax
import numpy as np

from dreamda_jax.models.weights.load import flax_axes
from dreamda_jax.models.weights.torch_layout import torch_name, torch_shape
from tests.reference.make_clip import random_tensor


def named_params(module, *inputs):
    """What `make_clip.random_tensor` gives the names and shapes that PyTorch has."""
    made = jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"]

    def of(path, shape):
        leaf = path[-1]
        tensor = np.array(random_tensor(torch_name(path), torch_shape(leaf, shape)))
        return tensor.transpose(flax_axes(leaf, tensor.ndim))

    flat = {path: of(path, x.shape) for path, x in flax.traverse_util.flatten_dict(made).items()}
    return flax.traverse_util.unflatten_dict(flat)

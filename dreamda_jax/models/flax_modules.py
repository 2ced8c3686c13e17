"""Build, measure and apply a Flax module of a PyTorch checkpoint."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax

from dreamda_jax.types import Params


def build_module(cls: type[nn.Module], config: Mapping[str, Any], **overrides: Any) -> Any:
    """Construct `cls` from the fields of `config` it knows; the rest is dropped silently.

    What is dropped must have been checked before (see `supported_configs`). Lists become tuples,
    because attributes of a module have to be hashable.
    """
    known = {field.name for field in dataclasses.fields(cls)} - {"parent", "name"}
    fields = {name: _hashable(value) for name, value in config.items() if name in known}
    return cls(**{**fields, **overrides})


def init_shapes(module: nn.Module, *inputs: Any, dtype: Any) -> Params:
    """Shapes of a module's parameters for such inputs, all of `dtype`; nothing is computed."""
    variables = jax.eval_shape(module.init, jax.random.key(0), *inputs)
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype), variables["params"])


def apply_module(module: nn.Module, params: Params, *args: Any, **kwargs: Any) -> Any:
    """`module.apply` with parameters only; `method=` picks another method than `__call__`."""
    return module.apply({"params": params}, *args, **kwargs)


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, (list, tuple)) else value

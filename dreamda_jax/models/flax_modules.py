"""Build, measure and apply a Flax module of a PyTorch checkpoint, without upstream's notices."""

import contextlib
import dataclasses
import logging
import os
from collections.abc import Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax

from dreamda_jax.types import Params

# Filters of a logger see only what is logged to that very logger, hence one entry per module.
_FLAX_LOGGERS = (
    "diffusers.models.attention_flax",
    "diffusers.models.embeddings_flax",
    "diffusers.models.modeling_flax_utils",
    "diffusers.models.resnet_flax",
    "diffusers.models.unets.unet_2d_blocks_flax",
    "diffusers.models.unets.unet_2d_condition_flax",
    "diffusers.models.vae_flax",
)
_NOTICE = "Flax classes are deprecated and will be removed in Diffusers"


def build_module(cls: type[nn.Module], config: Mapping[str, Any], **overrides: Any) -> Any:
    """Construct `cls` from the fields of `config` it knows; the rest is dropped silently.

    What is dropped must have been checked before (see `supported_configs`). Lists become tuples,
    because attributes of a module have to be hashable.
    """
    known = {field.name for field in dataclasses.fields(cls)} - {"parent", "name"}
    fields = {name: _hashable(value) for name, value in config.items() if name in known}
    if isinstance(fields.get("sample_size"), tuple):  # [height, width]
        fields["sample_size"] = max(fields["sample_size"])
    if fields.get("sample_size", 1) is None:
        del fields["sample_size"]
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


def _is_not_the_notice(record: logging.LogRecord) -> bool:
    return _NOTICE not in record.getMessage()


@contextlib.contextmanager
def quiet_flax_imports() -> Iterator[None]:
    """Import diffusers and transformers inside this block.

    The deprecation notice of diffusers' Flax classes is filtered for good (it comes once per
    layer, several hundred times per trace; the pin `diffusers<0.40` is our answer to it), every
    other message passes. TensorFlow, where the `prepare` extra installed it, is not imported: the
    two libraries would load it, with its log lines and its claim on GPU memory, for nothing. The
    environment variables are restored at the end, so later imports are not affected.
    """
    for name in _FLAX_LOGGERS:
        # `addFilter` ignores a filter that is already there.
        logging.getLogger(name).addFilter(_is_not_the_notice)
    previous = os.environ.get("USE_TF")
    os.environ["USE_TF"] = "0"
    try:
        yield
    finally:
        if previous is None:
            del os.environ["USE_TF"]
        else:
            os.environ["USE_TF"] = previous

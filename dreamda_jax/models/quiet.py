"""Silence one message: the deprecation notice that diffusers' Flax classes log at every setup."""

import contextlib
import logging
import os
from collections.abc import Iterator

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

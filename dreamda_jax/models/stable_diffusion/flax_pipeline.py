"""A `FlaxStableDiffusionPipeline` of an older diffusers (below 0.40) as our networks.

Its configs and parameter trees are ours by name, so nothing of diffusers is imported: what is
handed in is read.
"""

from collections.abc import Mapping
from typing import Any

import flax.traverse_util
import jax.numpy as jnp
import numpy as np

from dreamda_jax.errors import UserError
from dreamda_jax.models.stable_diffusion.model import (
    StableDiffusion,
    abstract_params,
    from_configs,
)
from dreamda_jax.models.stable_diffusion.scheduler_config import as_in_a_pipeline
from dreamda_jax.models.weights.load import Place
from dreamda_jax.types import Params


def open_flax_pipeline(pipeline: Any, *, dtype: str = "float32") -> StableDiffusion:
    """The networks of a pipeline, without parameters.

    Args:
        pipeline: anything with the `unet`, `vae`, `text_encoder`, `tokenizer` and `scheduler` of
            `FlaxStableDiffusionPipeline`.
        dtype: "float32", "bfloat16" or "float16", of parameters and computation.

    Raises:
        UserError: a part is missing, or a setting is not supported.
    """
    parts = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
    lacking = [name for name in parts if getattr(pipeline, name, None) is None]
    if lacking:
        raise UserError(
            f"{type(pipeline).__name__} has no {', '.join(lacking)}: a FlaxStableDiffusionPipeline "
            "of diffusers is needed (the extra 'diffusers' installs the last that has it)"
        )
    return from_configs(
        unet_config=dict(pipeline.unet.config),
        vae_config=dict(pipeline.vae.config),
        text_config=pipeline.text_encoder.config.to_dict(),
        scheduler_config=as_in_a_pipeline(dict(pipeline.scheduler.config)).config,
        tokenizer=pipeline.tokenizer,
        dtype=dtype,
    )


def place_params(
    model: StableDiffusion, params: Mapping[str, Any], *, place: Place
) -> dict[str, Params]:
    """The parameters that came with the pipeline, in the model's dtypes.

    Args:
        model: of `open_flax_pipeline`.
        params: by network, as `from_pretrained` of the pipeline returned them; other entries (the
            safety checker's, the scheduler's state) are left out. Not replicated.
        place: puts one parameter on the device(s).

    Raises:
        UserError: a network's parameters are missing, or are not those of its config.
    """
    placed: dict[str, Params] = {}
    for network, expected in abstract_params(model).items():
        if network not in params:
            raise UserError(f"params has no {network!r}: give what from_pretrained returned")
        wanted = flax.traverse_util.flatten_dict(expected)
        given = flax.traverse_util.flatten_dict(params[network])
        wrong = [
            "/".join(path)
            for path in sorted(wanted.keys() | given.keys())
            if path not in wanted
            or path not in given
            or tuple(given[path].shape) != wanted[path].shape
        ]
        if wrong:
            raise UserError(
                f"params[{network!r}] are not those of its config: {', '.join(wrong[:3])}"
                f"{' …' if len(wrong) > 3 else ''}. Parameters that were replicated have an axis "
                "of devices: give them as from_pretrained returned them."
            )
        placed[network] = flax.traverse_util.unflatten_dict(
            {
                path: place(np.asarray(jnp.asarray(leaf).astype(wanted[path].dtype)))
                for path, leaf in given.items()
            }
        )
    return placed

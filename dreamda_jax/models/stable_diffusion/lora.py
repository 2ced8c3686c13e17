"""LoRA (Hu et al. 2021, arXiv 2106.09685): W x becomes W x + (α/r) · B A x, with W frozen.

On the projections of the U-Net's attention (to_q, to_k, to_v, to_out), self and cross, as in
diffusers' training scripts. Adapters are a flat dict {path of the layer: {"down": [i, r],
"up": [r, o]}}, paths joined by "/". They are added by an interceptor in the layer's own dtype, so a
small update is not lost in the rounding of a bfloat16 weight; `merge` adds them to the weights.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from dreamda_jax.models.stable_diffusion.remat import full_path
from dreamda_jax.types import Params

TARGETS = ("to_q", "to_k", "to_v", "to_out_0")
Adapters = Mapping[str, Mapping[str, Any]]


def target_shapes(unet_shapes: Params) -> dict[str, tuple[int, int]]:
    """(inputs, outputs) of every layer that gets an adapter, by path, in the order of the paths.

    Args:
      unet_shapes: the U-Net's parameters, arrays or their shapes.
    """
    flat = flax.traverse_util.flatten_dict(unet_shapes)
    found = {
        "/".join(path[:-1]): leaf.shape
        for path, leaf in flat.items()
        if path[-1] == "kernel" and path[-2] in TARGETS
    }
    return dict(sorted(found.items()))


def init_adapters(
    key: jax.Array, shapes: Mapping[str, tuple[int, int]], *, rank: int
) -> dict[str, dict[str, jax.Array]]:
    """Adapters that change nothing yet: "up" is 0, "down" ~ N(0, 1/r²) as in diffusers' scripts.

    Args:
      key: a JAX key.
      shapes: of `target_shapes`.
      rank: r.

    Returns:
      float32.
    """
    return {
        path: {
            "down": jax.random.normal(jax.random.fold_in(key, place), (inputs, rank)) / rank,
            "up": jnp.zeros((rank, outputs), jnp.float32),
        }
        for place, (path, (inputs, outputs)) in enumerate(shapes.items())
    }


@contextmanager
def adapted(adapters: Adapters, *, scale: float) -> Iterator[None]:
    """Within it, calls of the layers that have an adapter add its output.

    Args:
      adapters: see the module.
      scale: α/r.
    """

    def intercept(
        next_fun: Callable[..., Any],
        args: tuple,
        kwargs: dict,
        context: nn.module.InterceptorContext,
    ) -> Any:
        output = next_fun(*args, **kwargs)
        if context.method_name != "__call__" or not isinstance(context.module, nn.Dense):
            return output
        adapter = adapters.get("/".join(full_path(context.module)))
        if adapter is None:
            return output
        down, up = (adapter[name].astype(output.dtype) for name in ("down", "up"))
        return output + scale * ((args[0].astype(output.dtype) @ down) @ up)

    with nn.intercept_methods(intercept):
        yield


def merge(unet_params: Params, adapters: Adapters, *, scale: float) -> Params:
    """The U-Net's parameters with W + (α/r) · A B in the place of W; float32 in between.

    Raises:
      KeyError: the network has no such layer.
    """
    flat = dict(flax.traverse_util.flatten_dict(unet_params))
    for path, adapter in adapters.items():
        name = (*path.split("/"), "kernel")
        kernel = flat[name]
        xp: Any = np if isinstance(kernel, np.ndarray) else jnp
        update = scale * (xp.float32(1) * adapter["down"] @ adapter["up"])
        flat[name] = (kernel.astype(xp.float32) + update).astype(kernel.dtype)
    return flax.traverse_util.unflatten_dict(flat)

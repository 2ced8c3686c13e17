"""Two corrections that make diffusers' Flax U-Net equal its PyTorch original.

diffusers' Flax port deviates in two places (diffusers 0.37 to 0.39, models/attention_flax.py):

- GroupNorm at the entry of `FlaxTransformer2DModel` uses eps 1e-5; `Transformer2DModel` uses 1e-6.
- `FlaxGEGLU` uses the tanh approximation of GELU; `GEGLU` uses the exact one.

Measured on the embedded model, float32: max abs difference of the U-Net from PyTorch 1.1e-4
without and 4e-6 with both. They are made from outside, by `flax.linen.intercept_methods`, so that
no model is forked. The classes arrive as arguments because only `model.py` may import
diffusers.

GroupNorm's sums are taken in two steps besides, over the image and then over a group's channels.
`flax.linen.GroupNorm` reduces over rows, columns and channels of [b, h, w, groups, c / groups] at
once, of which XLA's CPU compiler makes slow loops: an eighth of the time of a U-Net call
(benchmarks/unet_profile.py). With the channels kept apart at first it vectorises over them. For an
H100 and a v5e both forms compile to programs that move the same bytes in the same memory
(benchmarks/attention_forms.py --part=group_norm).
"""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Interceptor = Callable[[Callable[..., Any], tuple, dict, nn.module.InterceptorContext], Any]


def pytorch_corrections(
    *, transformer_class: type[nn.Module], geglu_class: type[nn.Module]
) -> Interceptor:
    """Build the interceptor that applies both corrections, and takes the faster GroupNorm.

    Args:
        transformer_class: `FlaxTransformer2DModel`; the GroupNorm whose parent it is gets eps 1e-6.
        geglu_class: `FlaxGEGLU`; its `__call__` is replaced by the exact form.

    Returns:
        An interceptor for `flax.linen.intercept_methods`. Dtypes stay what they were.
    """

    def intercept(
        next_fun: Callable[..., Any],
        args: tuple,
        kwargs: dict,
        context: nn.module.InterceptorContext,
    ) -> Any:
        module = context.module
        # Interceptors also see `setup`, so the method's name is part of the match.
        if context.method_name != "__call__":
            return next_fun(*args, **kwargs)
        if isinstance(module, nn.GroupNorm):
            is_entry = isinstance(module.parent, transformer_class)
            assert module.num_groups is not None  # diffusers never gives the size of a group
            (images,) = args
            return group_norm(
                images,
                module.variables["params"],
                num_groups=module.num_groups,
                epsilon=1e-6 if is_entry else module.epsilon,
            )
        if isinstance(module, geglu_class):
            return _exact_geglu(module, *args, **kwargs)
        return next_fun(*args, **kwargs)

    return intercept


def _exact_geglu(module: Any, hidden_states: jnp.ndarray, deterministic: bool = True) -> Any:
    linear, gate = jnp.split(module.proj(hidden_states), 2, axis=-1)
    gated = linear * nn.gelu(gate, approximate=False)
    return module.dropout_layer(gated, deterministic=deterministic)


def group_norm(
    images: Float[Array, "b h w c"],
    params: Mapping[str, jax.Array],
    *,
    num_groups: int,
    epsilon: float,
) -> Float[Array, "b h w c"]:
    """Normalises each group of channels of each image, as `flax.linen.GroupNorm` does.

    Args:
        images: of any floating dtype; statistics are float32.
        params: "scale" and "bias", [c].
        num_groups: divides c.
        epsilon: added to the variance.

    Returns:
        In the dtype that images and parameters promote to.
    """
    rows, height, width, channels = images.shape
    numbers = images.astype(jnp.promote_types(images.dtype, jnp.float32))
    count = height * width * channels // num_groups

    def mean(values: jax.Array) -> jax.Array:
        of_channels = jnp.sum(values, axis=(1, 2))
        return jnp.sum(of_channels.reshape(rows, num_groups, -1), axis=-1) / count

    def spread(of_groups: jax.Array) -> jax.Array:
        return jnp.repeat(of_groups, channels // num_groups, axis=-1)[:, None, None]

    center = mean(numbers)
    # Rounding may leave a variance of nothing below zero.
    variance = jnp.maximum(0.0, mean(jnp.square(numbers)) - jnp.square(center))
    gain = spread(jax.lax.rsqrt(variance + epsilon)) * params["scale"]
    normalised = (numbers - spread(center)) * gain + params["bias"]
    return normalised.astype(jnp.result_type(images, params["scale"], params["bias"]))

"""Our U-Net against diffusers' own Flax class, which diffusers 0.37 to 0.39 had.

    pytest -m parity -n 0 tests/parity/test_unet_of_flax.py

Both trees of parameters are the same, so one checkpoint fits both. That class departs from that of
PyTorch in three ways: GELU by tanh, eps 1e-5 instead of 1e-6 at a transformer's entry, variances as
E[x²] − E[x]². An interceptor mends the three; then the numbers are ours.
"""

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamda_jax.models.flax_modules import build_module
from dreamda_jax.plan.known_configs import SD15, SD21
from tests.support.drawn_unets import (
    build_unet,
    flax_shapes,
    load_tensors,
    predict,
    torch_shapes,
    torch_tensors,
    unet_inputs,
)

theirs = pytest.importorskip("diffusers.models.unets.unet_2d_condition_flax")
attention_flax = pytest.importorskip("diffusers.models.attention_flax")
pytestmark = pytest.mark.parity

TOLERANCE = 1e-5  # of the largest |output|: float32 sums in other orders
SMALL = {
    "block_out_channels": [32, 64],
    "cross_attention_dim": 48,
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "layers_per_block": 1,
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
}
XL = {
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 6 * 8 + 20,
    "transformer_layers_per_block": [1, 3],
    "use_linear_projection": True,
}
CASES = {
    "sd1": SMALL | {"attention_head_dim": 4},
    "sd2": SMALL | {"attention_head_dim": [2, 4], "use_linear_projection": True},
    "xl": SMALL | XL | {"attention_head_dim": [2, 4]},
    "three": {
        "attention_head_dim": 2,
        "block_out_channels": [32, 96, 64],
        "cross_attention_dim": 16,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "flip_sin_to_cos": False,
        "freq_shift": 1,
        "layers_per_block": 2,
        "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D", "CrossAttnUpBlock2D"],
    },
    "one": {
        "attention_head_dim": 8,
        "block_out_channels": [64],
        "cross_attention_dim": 16,
        "down_block_types": ["CrossAttnDownBlock2D"],
        "layers_per_block": 3,
        "up_block_types": ["UpBlock2D"],
    },
}


def build_theirs(config):
    return build_module(theirs.FlaxUNet2DConditionModel, config, dropout=0.0)


def their_arguments(inputs):
    arrays = {name: jnp.asarray(array) for name, array in inputs.items()}  # it asks for these
    positional = [arrays[name] for name in ("sample", "timesteps", "encoder_hidden_states")]
    added = {name: arrays[name] for name in ("text_embeds", "time_ids") if name in arrays}
    return positional, added or None


@pytest.mark.parametrize("config", [SD15.unet, SD21.unet, *CASES.values()])
def test_parameters_have_the_same_names_and_shapes(config):
    inputs = unet_inputs(config, rows=1, height=64, width=64, tokens=2, seed=0)
    positional, added = their_arguments(inputs)
    module = build_theirs(config)
    made = jax.eval_shape(lambda: module.init(jax.random.key(0), *positional, added))
    expected = flax.traverse_util.flatten_dict(made["params"])
    found = flax_shapes(build_unet(config), inputs)
    assert {path: x.shape for path, x in found.items()} == {
        path: x.shape for path, x in expected.items()
    }


def two_pass_norm(images, module, epsilon):
    in_group = images.shape[-1] // module.num_groups
    grouped = images.reshape(images.shape[0], -1, module.num_groups, in_group)
    centered = grouped - jnp.mean(grouped, axis=(1, 3), keepdims=True)
    variance = jnp.mean(jnp.square(centered), axis=(1, 3), keepdims=True)
    params = module.variables["params"]
    normal = (centered * jax.lax.rsqrt(variance + epsilon)).reshape(images.shape)
    return normal * params["scale"] + params["bias"]


def mended(next_fun, args, kwargs, context):
    """As PyTorch diffusers has it."""
    module = context.module
    if context.method_name != "__call__":
        return next_fun(*args, **kwargs)
    if isinstance(module, nn.GroupNorm):
        at_entry = isinstance(module.parent, attention_flax.FlaxTransformer2DModel)
        return two_pass_norm(args[0], module, 1e-6 if at_entry else module.epsilon)
    if isinstance(module, attention_flax.FlaxGEGLU):
        linear, gate = jnp.split(module.proj(args[0]), 2, axis=-1)
        return linear * nn.gelu(gate, approximate=False)
    return next_fun(*args, **kwargs)


@pytest.mark.parametrize("name", CASES)
def test_the_three_departures_are_all_that_differs(name, tmp_path):
    config = CASES[name]
    inputs = unet_inputs(config, rows=2, height=8, width=4, tokens=5, seed=1)
    unet = build_unet(config)
    shapes = flax_shapes(unet, inputs)
    tensors = torch_tensors(torch_shapes(shapes), seed=0, gain=2.0, offset=1.0)
    params = load_tensors(tensors, shapes, tmp_path)
    ours = predict(unet, params, inputs)
    module, (positional, added) = build_theirs(config), their_arguments(inputs)

    def call(interceptor):
        def apply(params):
            with nn.intercept_methods(interceptor):
                return module.apply({"params": params}, *positional, added).sample

        return np.asarray(jax.jit(apply)(params))

    largest = np.abs(ours).max()
    as_it_is = call(lambda next_fun, args, kwargs, context: next_fun(*args, **kwargs))
    distance = np.abs(call(mended) - ours).max() / largest
    departure = np.abs(as_it_is - ours).max() / largest
    print(f"{name}: mended {distance:.1e}, as it is {departure:.1e}")
    assert distance <= TOLERANCE
    assert departure > 2 * TOLERANCE

"""The U-Net of every kind against PyTorch diffusers' outputs (tests/reference/unet.npz)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamda_jax.models.stable_diffusion.networks.time_embedding import timestep_features
from tests.support.drawn_unets import (
    build_unet,
    flax_shapes,
    load_tensors,
    predict,
    torch_shapes,
    torch_tensors,
    unet_inputs,
)
from tests.support.paths import REFERENCE
from tests.support.unet_cases import CASES, INPUT_SEED, WEIGHTS

# Of the largest |output|. The 16-bit networks round every activation to 8 and 11 bits.
TOLERANCES = {"float32": 1e-5, "bfloat16": 0.1, "float16": 0.01}


def drawn(name, directory, dtype="float32"):
    """(module, its parameters, its inputs)."""
    config, sizes = CASES[name]
    inputs = unet_inputs(config, **sizes, seed=INPUT_SEED)
    unet = build_unet(config, dtype)
    shapes = flax_shapes(unet, inputs)
    tensors = torch_tensors(torch_shapes(shapes), **WEIGHTS)
    return unet, load_tensors(tensors, shapes, directory, dtype), inputs


def distance(found, name):
    expected = np.load(REFERENCE / "unet.npz")[name]
    assert found.shape == expected.shape
    return np.abs(found - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("name", CASES)
def test_it_equals_pytorch(name, tmp_path):
    assert distance(predict(*drawn(name, tmp_path)), name) < TOLERANCES["float32"]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_sixteen_bits(dtype, tmp_path):
    unet, params, inputs = drawn("sd2", tmp_path, dtype)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(dtype)}
    assert jax.eval_shape(unet.apply, {"params": params}, **inputs).dtype == dtype
    # Close, and not suspiciously close.
    assert 1e-4 < distance(predict(unet, params, inputs), "sd2") < TOLERANCES[dtype]


def test_without_a_condition_nothing_is_added(tmp_path):
    unet, params, inputs = drawn("lcm", tmp_path)
    condition = inputs.pop("timestep_cond")
    without = predict(unet, params, inputs)
    of_nothing = predict(unet, params, inputs | {"timestep_cond": np.zeros_like(condition)})
    np.testing.assert_array_equal(without, of_nothing)
    assert distance(without, "lcm") > 1e-3


def test_text_time_needs_its_inputs():
    config, sizes = CASES["xl"]
    inputs = unet_inputs(config, **sizes, seed=INPUT_SEED)
    del inputs["time_ids"]
    with pytest.raises(ValueError, match="needs text_embeds and time_ids"):
        jax.eval_shape(lambda: build_unet(config).init(jax.random.key(0), **inputs))


@pytest.mark.parametrize("dim", [7, 8])
def test_features_of_a_timestep_are_sines_and_cosines(dim):
    found = timestep_features(jnp.array([0.0, 981.0]), dim, cosine_first=True, freq_shift=0)
    half = dim // 2
    phases = np.array([0.0, 981.0])[:, None] * 10_000.0 ** (-np.arange(half) / half)
    # A phase of 981 has 3e-5 as its last place in float32.
    np.testing.assert_allclose(found[:, :half], np.cos(phases), atol=1e-4)
    np.testing.assert_allclose(found[:, half : 2 * half], np.sin(phases), atol=1e-4)
    assert found.shape == (2, dim)
    assert not np.any(found[:, 2 * half :])

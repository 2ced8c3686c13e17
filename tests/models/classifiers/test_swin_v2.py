"""Swin V2 tiny against torchvision and timm (tests/reference/make_swin_v2.py made the arrays)."""

import functools
import re

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dreamda_jax.errors import UserError
from dreamda_jax.models.classifiers.swin_v2 import (
    SwinTransformerV2,
    from_timm,
    swin_v2_t,
    torchvision_name,
)
from tests.reference import make_swin_v2 as reference
from tests.support.paths import REFERENCE

ARRAYS = np.load(REFERENCE / "swin_v2.npz")
NAMES = ARRAYS["names"].tolist()

# Float32 through 12 blocks with sharp attention (logits up to 100), relative to the largest value:
# 2.4e-6 measured, and PyTorch's own distance from float64 is 1.3e-6. Norms with an epsilon of 1e-6
# are 1.4e-5 away, tanh GELU 2e-4, everything else that was tried more than 4e-3.
TOLERANCE = 8e-6


def relative_error(found, expected):
    return np.abs(np.asarray(found) - expected).max() / np.abs(expected).max()


def torch_layout(array):
    """[h, w, i, o] -> [o, i, h, w], [i, o] -> [o, i], others unchanged."""
    return np.transpose(array, {4: (3, 2, 0, 1), 2: (1, 0)}.get(array.ndim, range(array.ndim)))


def flax_layout(tensor):
    return np.transpose(tensor, {4: (2, 3, 1, 0), 2: (1, 0)}.get(tensor.ndim, range(tensor.ndim)))


def torch_shapes(model):
    """Flax path of each parameter -> its shape in PyTorch's layout."""
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    assert set(variables) == {"params"}
    flat = flax.traverse_util.flatten_dict(variables["params"])
    return {path: torch_layout(np.empty(leaf.shape, bool)).shape for path, leaf in flat.items()}


def random_tensors(paths):
    """The reference's weights: torchvision's names, PyTorch's layout."""
    named = {torchvision_name(path): shape for path, shape in paths.items()}
    return {name: reference.random_tensor(name, shape) for name, shape in named.items()}


def variables(paths, tensors):
    flat = {path: flax_layout(tensors[torchvision_name(path)]) for path in paths}
    return {"params": flax.traverse_util.unflatten_dict(flat)}


@pytest.fixture(scope="module")
def model():
    return swin_v2_t(num_classes=reference.NUM_CLASSES)


@pytest.fixture(scope="module")
def paths(model):
    return torch_shapes(model)


@pytest.fixture(scope="module")
def tensors(paths):
    tensors = random_tensors(paths)
    total = sum(np.abs(t).sum(dtype=np.float64) for t in tensors.values())
    np.testing.assert_allclose(total, ARRAYS["weights_sum"], rtol=1e-9)  # numpy's stream changed?
    return tensors


@pytest.fixture(scope="module")
def apply(model):
    return jax.jit(lambda params, images: model.apply(params, images, return_features=True))


def test_names_are_torchvisions(paths):
    assert sorted(map(torchvision_name, paths)) == sorted(NAMES)
    path = ("stage_0", "block_1", "attention", "qkv", "kernel")
    assert torchvision_name(path) == "features.1.1.attn.qkv.weight"


@pytest.mark.parametrize("size", reference.SIZES)
def test_torchvision(apply, paths, tensors, size):
    logits, features = apply(variables(paths, tensors), reference.images(size))
    assert logits.dtype == features.dtype == jnp.float32
    assert relative_error(logits, ARRAYS[f"logits_{size}"]) < TOLERANCE
    assert relative_error(features, ARRAYS[f"features_{size}"]) < TOLERANCE


@pytest.mark.parametrize("weights", ["renamed", "own"])
def test_timm(apply, paths, tensors, weights):
    timm = reference.to_timm(tensors)
    if weights == "own":
        timm = {name: reference.random_tensor(name, t.shape) for name, t in timm.items()}
    logits, _ = apply(variables(paths, from_timm(timm)), reference.images("256"))
    assert relative_error(logits, ARRAYS[f"timm_logits_{weights}"]) < TOLERANCE


def test_from_timm_restores_torchvisions_tensors(tensors):
    timm = reference.to_timm(tensors)
    timm["layers.0.blocks.0.attn.relative_position_index"] = np.zeros((64, 64), int)
    timm["head.extra"] = np.ones(1)
    restored = from_timm(timm)
    np.testing.assert_array_equal(restored.pop("head.extra"), np.ones(1))
    assert restored.keys() == tensors.keys()
    for name, tensor in tensors.items():
        if name.endswith("qkv.bias"):
            query, key, _ = np.split(restored[name], 3)
            np.testing.assert_array_equal(query, np.split(tensor, 3)[0])
            assert not key.any()
            np.testing.assert_array_equal(restored[name][2 * key.size :], np.split(tensor, 3)[2])
        else:
            assert restored[name] is tensor


def test_from_timm_understands_the_original_release(tensors):
    timm = reference.to_timm(tensors)
    original = {}
    for name, tensor in timm.items():
        stage = int(name.split(".")[1]) if "downsample" in name else 0
        name = name.replace(f"layers.{stage}.downsample", f"layers.{stage - 1}.downsample")
        original[name.replace("head.fc.", "head.")] = tensor
    expected, found = from_timm(timm), from_timm(original)
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_from_timm_refuses_half_a_bias():
    with pytest.raises(UserError, match=r"layers\.0\.blocks\.0\.attn\.v_bias is missing"):
        from_timm({"layers.0.blocks.0.attn.q_bias": np.zeros(3)})


@pytest.mark.slow
def test_gradients(model, paths, tensors):
    images = reference.images(reference.GRADIENT_SIZE)

    @jax.jit
    @jax.value_and_grad
    def loss_and_gradients(variables):
        logits = model.apply(variables, images)
        labels = jnp.array(reference.LABELS)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    loss, gradients = loss_and_gradients(variables(paths, tensors))
    np.testing.assert_allclose(loss, ARRAYS["loss"], rtol=TOLERANCE)
    flat = flax.traverse_util.flatten_dict(gradients["params"])
    found = {torchvision_name(path): torch_layout(np.asarray(g)) for path, g in flat.items()}
    norms = [np.sqrt(np.square(found[name], dtype=np.float64).sum()) for name in NAMES]
    # 3e-5 measured, in a logit scale of the first stage, where terms of both signs cancel; there
    # PyTorch's float32 is as far from float64.
    np.testing.assert_allclose(norms, ARRAYS["gradient_norms"], rtol=1e-4)
    for name in reference.GRADIENTS:
        assert relative_error(found[name], ARRAYS[f"gradient_{name}"]) < 1e-4, name


def small(**changes):
    fields = {
        "embed_dim": 8,
        "depths": (2, 2),
        "num_heads": (1, 2),
        "window_size": 4,
        "mlp_ratio": 2.0,
        "stochastic_depth_rate": 0.6,
        "num_classes": 5,
    }
    return SwinTransformerV2(**{**fields, **changes})


def small_images(rows):
    return reference.random_tensor("images_small", (rows, 24, 32, 3))


@pytest.fixture(scope="module")
def small_variables():
    paths = torch_shapes(small())
    return variables(paths, random_tensors(paths))


@functools.partial(jax.jit, static_argnums=0, static_argnames=("train", "return_features"))
def run(model, variables, images, seed=0, **kwargs):
    return model.apply(variables, images, rngs={"dropout": jax.random.key(seed)}, **kwargs)


def test_training_without_stochastic_depth_is_evaluation(small_variables):
    images = small_images(2)
    expected = run(small(), small_variables, images)  # at a rate of 0.6
    found = run(small(stochastic_depth_rate=0.0), small_variables, images, train=True)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert not np.allclose(run(small(), small_variables, images, train=True), expected)


def test_stochastic_depth(small_variables):
    rows = 1000
    images = np.repeat(small_images(1), rows, axis=0)
    _, state = jax.jit(
        lambda key: small().apply(
            small_variables,
            images,
            train=True,
            rngs={"dropout": key},
            capture_intermediates=lambda module, _: isinstance(module, nn.LayerNorm | nn.Dropout),
        )
    )(jax.random.key(0))
    stages = state["intermediates"]
    blocks = [stages[f"stage_{i}"][f"block_{j}"] for i, j in ((0, 0), (0, 1), (1, 0), (1, 1))]
    masks = []
    for i, block in enumerate(blocks):
        rate = 0.6 * i / 3
        for branch in ("1", "2"):
            [residual] = block[f"norm{branch}"]["__call__"]
            [found] = block[f"drop{branch}"]["__call__"]
            kept = np.asarray(found).any((1, 2, 3))
            expected = np.where(kept[:, None, None, None], residual / (1 - rate), 0)
            np.testing.assert_allclose(found, expected, rtol=1e-6)
            # Binomial, five standard deviations.
            assert abs(kept.mean() - (1 - rate)) <= 5 * np.sqrt(rate * (1 - rate) / rows)
            masks.append(kept)
    correlation = np.corrcoef(masks[2:]) - np.eye(len(masks) - 2)  # the first block keeps all
    assert np.abs(correlation).max() < 5 / np.sqrt(rows)  # each branch has its own draw


def test_stochastic_depth_follows_the_key(small_variables):
    first, again, other = (
        run(small(), small_variables, small_images(4), seed, train=True) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(again, first)
    assert not np.allclose(other, first)
    with pytest.raises(flax.errors.InvalidRngError, match="dropout"):
        jax.eval_shape(lambda: small().apply(small_variables, small_images(1), train=True))


def test_bfloat16(small_variables):
    images = small_images(4)
    exact = run(small(), small_variables, images, return_features=True)
    rough = run(small(dtype=jnp.bfloat16), small_variables, images, return_features=True)
    for found, expected in zip(rough, exact, strict=True):
        assert found.dtype == jnp.float32
        # 2⁻⁸ per rounding, through four blocks with logits up to 100: 0.015 measured.
        assert 1e-4 < relative_error(found, expected) < 0.05


def test_what_stays_float32_in_bfloat16(small_variables):
    model = small(dtype=jnp.bfloat16)
    jaxpr = str(jax.make_jaxpr(model.apply)(small_variables, small_images(1)))
    # Norms, of vectors and of layers; softmax and logit scale; position bias; products.
    found = re.findall(r":(\w+)\[[^]]*\] = (rsqrt|exp|logistic|dot_general)\b", jaxpr)
    assert {name for _, name in found} == {"rsqrt", "exp", "logistic", "dot_general"}
    assert {dtype for dtype, name in found if name != "dot_general"} == {"f32"}
    assert {dtype for dtype, name in found if name == "dot_general"} == {"f32", "bf16"}


def test_initialisation_is_torchvisions():
    params = jax.jit(small().init)(jax.random.key(0), small_images(1))["params"]
    for path, leaf in flax.traverse_util.flatten_dict(params).items():
        assert leaf.dtype == jnp.float32
        if path[0] == "patch_embed":  # uniform within ±1/√48
            assert 0.5 < np.abs(leaf).max() * np.sqrt(48) <= 1
        elif path[-1] == "kernel":
            assert abs(leaf.std() / 0.02 - 1) < 5 / np.sqrt(2 * leaf.size)  # five deviations
        else:
            constant = {"bias": 0.0, "scale": 1.0, "logit_scale": np.log(10)}[path[-1]]
            np.testing.assert_allclose(leaf, constant, rtol=1e-6)


@pytest.mark.parametrize("shape", [(1, 48, 64, 3), (1, 64, 48, 3), (64, 64, 3), (1, 64, 64, 4)])
def test_wrong_images_are_refused(model, shape):
    with pytest.raises(ValueError, match="multiples of 32"):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(shape))

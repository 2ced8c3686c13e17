"""Classifier networks against PyTorch: outputs, statistics and gradients, on weights from names."""

import functools
import json

import chex
import flax.errors
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from safetensors.numpy import save_file

from dreamda_jax.errors import UserError
from dreamda_jax.models.classifiers.pretrained import load
from dreamda_jax.models.classifiers.registry import ARCHITECTURES, find_architecture
from tests.reference import make_classifiers as reference

# Of the largest value. Measured: up to 3e-5, where PyTorch's own float32 is up to 6e-5 from the
# float64 in which the references were computed.
TOLERANCE = 1e-4
# Gradients are compared in float64. In float32 PyTorch's own are up to 5e-2 from its float64: of a
# model's millions of preactivations up to 17 are so near the kink of their ReLU that rounding
# carries them across; with the masks of float64 only 6e-4 remain. Measured in float64: 7e-8, and
# 8e-8 for the norms. The references are stored in float32, and the head's input is rounded to it.
GRADIENT_TOLERANCE = 1e-6


def build(case, dtype=jnp.float32):
    architecture = find_architecture(case.removesuffix("_small").removesuffix("_timm"))
    stem = "small" if case.endswith("_small") else "imagenet"
    module = architecture.build(reference.NUM_CLASSES, dtype, stem)
    return architecture, module.clone(dropout=0.0) if "mobilenet" in case else module


@functools.cache
def init_shapes(module, shape=(1, 64, 64, 3)):
    return jax.eval_shape(module.init, jax.random.key(0), jax.ShapeDtypeStruct(shape, jnp.float32))


def usual_name(architecture, name):
    return next(iter(architecture.to_usual_names({name: np.zeros(1)})))


def by_name(architecture, collection, tree):
    """The arrays of one collection, on the host, under the names of the state dict."""
    return {
        architecture.tensor_name((collection, *path)): np.asarray(leaf)
        for path, leaf in flax.traverse_util.flatten_dict(tree).items()
    }


def load_random(case, arrays, directory):
    """Variables from a file with the names, shapes and counters of the PyTorch model."""
    architecture, module = build(case)
    shapes = json.loads(str(arrays["shapes"]))
    tensors = {n: reference.random_tensor(n, tuple(shape)) for n, shape in shapes.items()}
    for name in shapes:
        if name.endswith("running_var"):
            tensors[name.replace("running_var", "num_batches_tracked")] = np.array(7)
    save_file(tensors, directory / "model.safetensors")
    return load(architecture, init_shapes(module), directory).variables


@functools.partial(jax.jit, static_argnums=0)
def forward(module, variables, images):
    """One program per model: compiling is what takes the time."""
    logits, features = module.apply(variables, images, return_features=True)
    train_logits, updated = module.apply(variables, images, train=True, mutable=["batch_stats"])
    return {
        "logits": logits,
        "features": features,
        "train_logits": train_logits,
        "statistics": updated["batch_stats"],
    }


# The tests' quick compilation would make float64 convolutions slow: minutes instead of seconds.
@functools.partial(
    jax.jit, static_argnums=0, compiler_options={"xla_backend_optimization_level": 1}
)
def backward(module, variables, images, labels):
    def loss(params):
        logits, _ = module.apply(
            {**variables, "params": params}, images, train=True, mutable=["batch_stats"]
        )
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    return jax.grad(loss)(variables["params"])


@pytest.fixture(scope="module", params=reference.CASES)
def loaded(request, tmp_path_factory):
    """(case, PyTorch's arrays, our variables)."""
    case = request.param
    with np.load(f"{reference.HERE}/classifiers_{case}.npz") as file:
        arrays = dict(file)
    return case, arrays, load_random(case, arrays, tmp_path_factory.mktemp(case))


@pytest.fixture(scope="module")
def results(loaded):
    """(case, PyTorch's arrays, ours)."""
    case, arrays, variables = loaded
    return case, arrays, jax.device_get(forward(build(case)[1], variables, reference.images(case)))


def assert_close(got, want, tolerance, dtype=np.float32):
    assert got.dtype == dtype
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= tolerance * np.abs(want).max()


@pytest.mark.parametrize("name", ["logits", "features", "train_logits"])
def test_outputs(results, name):
    _, arrays, got = results
    assert_close(got[name], arrays[name], TOLERANCE)
    # The images must differ by far more than the tolerance, or this would show nothing.
    assert np.abs(np.ptp(arrays[name], axis=0)).max() > 200 * TOLERANCE * np.abs(arrays[name]).max()


def test_running_statistics(results):
    case, arrays, got = results
    architecture, _ = build(case)
    statistics = by_name(architecture, "batch_stats", got["statistics"])
    for norm, count in zip(reference.CASES[case].norms, arrays["counts"], strict=True):
        name = usual_name(architecture, f"{norm}.running_mean")
        assert_close(statistics[name], arrays[f"{norm}.running_mean"], 2e-5)
        # PyTorch's new share is the unbiased variance, ours the biased: n / (n - 1) apart.
        name = usual_name(architecture, f"{norm}.running_var")
        old = 0.9 * reference.random_tensor(f"{norm}.running_var", statistics[name].shape)
        unbiased = old + (statistics[name] - old) * np.float32(count / (count - 1))
        assert_close(unbiased, arrays[f"{norm}.running_var"], 2e-5)


@pytest.mark.slow
def test_gradients(loaded):
    case, arrays, variables = loaded
    with jax.enable_x64(True):
        architecture, module = build(case, jnp.float64)
        variables, images = jax.tree.map(np.float64, (variables, reference.images(case)))
        gradients = jax.device_get(backward(module, variables, images, reference.labels(case)))
    ours = by_name(architecture, "params", gradients)
    for name in reference.CASES[case].gradients:
        gradient = ours[usual_name(architecture, name)]
        if gradient.ndim > 1:
            gradient = np.moveaxis(gradient, (-1, -2), (0, 1))  # a kernel, to PyTorch's layout
        assert_close(gradient, arrays[f"gradient.{name}"], GRADIENT_TOLERANCE, np.float64)
    norms = [np.linalg.norm(ours[usual_name(architecture, str(n))]) for n in arrays["parameters"]]
    want = arrays["gradient_norms"]
    # Some are zero but for rounding: the shift of a BatchNorm that another one follows.
    np.testing.assert_allclose(norms, want, rtol=GRADIENT_TOLERANCE, atol=1e-12 * want.max())


def init_variables(module, shape):
    return jax.device_get(jax.jit(module.init)(jax.random.key(0), jnp.zeros(shape)))


@pytest.fixture(scope="module")
def tiny():
    """(module, variables) of the tiny ResNet, freshly initialised."""
    module = find_architecture("resnet_tiny").build(10)
    return module, init_variables(module, (1, 32, 32, 3))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_bfloat16_stays_inside_every_architecture(name):
    architecture = find_architecture(name)
    assert architecture.name == name
    module = architecture.build(num_classes=7, dtype=jnp.bfloat16)
    variables = init_shapes(module)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype(np.float32)}
    names = [architecture.tensor_name(p) for p in flax.traverse_util.flatten_dict(variables)]
    assert len(set(names)) == len(names)
    assert {f"{architecture.head}.weight", f"{architecture.head}.bias"} <= set(names)

    def classify(variables, images, key):
        return module.apply(
            variables,
            images,
            train=True,
            return_features=True,
            mutable=["batch_stats"],
            rngs={"dropout": key},
        )

    images = jax.ShapeDtypeStruct((3, 64, 64, 3), jnp.float32)
    (logits, features), updated = jax.eval_shape(classify, variables, images, jax.random.key(0))
    assert (logits.shape, logits.dtype) == ((3, 7), jnp.float32)
    assert (features.ndim, features.shape[0], features.dtype) == (2, 3, jnp.float32)
    assert updated.get("batch_stats", {}) == variables.get("batch_stats", {})


def test_bfloat16_computes_in_bfloat16(tiny):
    module, variables = tiny
    images = reference.images("resnet_tiny")
    short = module.clone(dtype=jnp.bfloat16)

    def last_activation(module):
        _, state = module.apply(
            variables, images, capture_intermediates=True, mutable=["intermediates"]
        )
        return state["intermediates"]["layer3_1"]["__call__"][0]

    assert jax.eval_shape(lambda: last_activation(module)).dtype == jnp.float32
    assert jax.eval_shape(lambda: last_activation(short)).dtype == jnp.bfloat16
    full, rounded = (jax.jit(m.apply)(variables, images) for m in (module, short))
    # bfloat16 keeps 8 bits, rounded some 20 times in a row: measured 0.9 %.
    assert 0 < np.abs(full - rounded).max() < 0.03 * np.abs(full).max()


def test_statistics_of_a_sharded_batch_are_those_of_the_whole(tiny):
    module, variables = tiny
    images = reference.images("resnet_tiny")

    @jax.jit
    def train(variables, images):
        return module.apply(variables, images, train=True, mutable=["batch_stats"])

    mesh = Mesh(np.array(jax.devices()[:2]), ("data",))
    sharded = jax.device_put(images, NamedSharding(mesh, PartitionSpec("data")))
    assert len(sharded.sharding.device_set) == 2
    whole, split = train(variables, images), train(variables, sharded)
    # Each half by itself would be far off: it has other images.
    chex.assert_trees_all_close(split, whole, rtol=1e-4, atol=1e-5)


def test_mobilenet_drops_out_a_fifth():
    module = find_architecture("mobilenet_v2").build(10)
    assert module.dropout == 0.2  # torchvision's default
    images = jnp.zeros((2, 32, 32, 3))
    variables = init_shapes(build("mobilenet_v2")[1])

    def train(variables):
        return module.apply(variables, images, train=True, mutable=["batch_stats"])

    with pytest.raises(flax.errors.InvalidRngError, match="dropout"):
        jax.eval_shape(train, variables)


def test_initialisation_is_torchvisions(tiny):
    _, variables = tiny
    flat = flax.traverse_util.flatten_dict(variables["params"])
    for path, leaf in flat.items():
        if path[-1] == "kernel" and leaf.ndim == 4:
            # kaiming_normal_, fan_out: within five standard errors of a variance's estimate.
            variance = 2 / (leaf.shape[3] * leaf.shape[0] * leaf.shape[1])
            assert abs(np.var(leaf) / variance - 1) < 5 * np.sqrt(2 / leaf.size)
            assert np.abs(leaf).max() > 2.5 * np.sqrt(variance)  # not truncated
        elif path[0] != "fc":
            assert np.all(leaf == (1.0 if path[-1] == "scale" else 0.0))  # bn2's gamma too
    bound = 1 / np.sqrt(128)  # uniform; Linear.reset_parameters
    for leaf in (flat["fc", "kernel"], flat["fc", "bias"]):
        assert 0.7 * bound < np.abs(leaf).max() <= bound
    assert abs(np.std(flat["fc", "kernel"]) / bound - 1 / np.sqrt(3)) < 0.02


def test_unknown_names_and_stems():
    with pytest.raises(UserError, match=r"no classifier architecture 'resnet34'.*resnet18, "):
        find_architecture("resnet34")
    for name in ("swin_v2_t", "mobilenet_v2"):
        with pytest.raises(UserError, match=f"{name} has no stem 'small'"):
            find_architecture(name).build(10, jnp.float32, "small")
    with pytest.raises(UserError, match="no stem 'cifar'"):
        find_architecture("resnet18").build(10, jnp.float32, "cifar")

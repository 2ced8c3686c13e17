"""Rematerialised blocks: the same numbers, and really under `jax.checkpoint`."""

import re

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamda_jax.models.stable_diffusion import loading
from dreamda_jax.models.stable_diffusion.model import REMAT_BLOCKS
from dreamda_jax.models.stable_diffusion.remat import full_path, rematerialised
from dreamda_jax.runtime.flops import inner_jaxprs

LATENTS, TARGET = np.random.default_rng(0).standard_normal((2, 2, 4, 4, 4), np.float32)
CONTEXT = np.random.default_rng(1).standard_normal((2, 16, 48), np.float32)
TIMESTEPS = np.array([3, 700])


@pytest.fixture(scope="module")
def micro(micro_checkpoint):
    """(model, params), float32."""
    return loading.load(micro_checkpoint)


def denoise(model, unet, *, remat):
    with rematerialised(REMAT_BLOCKS if remat else ()):
        return model.denoise({"unet": unet}, LATENTS, TIMESTEPS, CONTEXT)


def value_and_gradient(model, unet, *, remat):
    @jax.jit
    @jax.value_and_grad
    def loss(unet):
        return jnp.mean(jnp.square(denoise(model, unet, remat=remat) - TARGET))

    value, gradient = loss(unet)
    return value, flax.traverse_util.flatten_dict(gradient)


def equations(jaxpr):
    """Of a jaxpr and of all those inside of it."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in inner_jaxprs(equation.params):
            yield from equations(inner)


def is_checkpoint(equation):
    return re.match("remat|checkpoint", equation.primitive.name) is not None


def checkpoints(model, unet, *, remat):
    jaxpr = jax.make_jaxpr(lambda unet: denoise(model, unet, remat=remat))(unet)
    return [each for each in equations(jaxpr.jaxpr) if is_checkpoint(each)]


def block_paths(unet):
    """Of every residual block and every transformer, from the names of the parameters."""
    found = {
        path[: i + 1]
        for path in flax.traverse_util.flatten_dict(unet)
        for i, name in enumerate(path)
        if re.fullmatch(r"(resnets|attentions)_\d+", name)
    }
    assert {path[0] for path in found} == {
        *("down_blocks_0", "down_blocks_1", "mid_block", "up_blocks_0", "up_blocks_1")
    }
    return found


@pytest.mark.slow
def test_value_and_gradients_are_those_without(micro):
    model, params = micro
    value, gradient = value_and_gradient(model, params["unet"], remat=False)
    again, gradient_again = value_and_gradient(model, params["unet"], remat=True)
    # XLA fuses other operations: float32 sums are rounded otherwise, through twelve blocks.
    np.testing.assert_allclose(again, value, rtol=1e-5)
    assert set(gradient_again) == set(gradient)
    largest = max(np.abs(leaf).max() for leaf in gradient.values())
    for path, leaf in gradient.items():
        # Some gradients, such as that of a bias before a normalisation, are nought but rounding.
        scale = max(np.abs(leaf).max(), 3e-3 * largest)
        assert np.abs(gradient_again[path] - leaf).max() < 1e-4 * scale, path
        assert np.abs(leaf).max() > 0, path


def test_every_block_is_checkpointed_once(micro):
    model, params = micro
    found = checkpoints(model, params["unet"], remat=True)
    assert len(found) == len(block_paths(params["unet"])) == 12
    assert not checkpoints(model, params["unet"], remat=False)


def test_between_blocks_nothing_is_computed_twice(micro):
    """The parameters outside of blocks are read outside of `jax.checkpoint`."""
    model, params = micro
    shapes = {
        "/".join(path): leaf.shape
        for path, leaf in flax.traverse_util.flatten_dict(params["unet"]).items()
    }
    inside = [
        tuple(variable.aval.shape)
        for equation in checkpoints(model, params["unet"], remat=True)
        for variable in equation.invars
    ]
    outside = [name for name in shapes if not re.search(r"(resnets|attentions)_\d+", name)]
    of_blocks = [name for name in shapes if name not in outside]
    assert "down_blocks_0/downsamplers_0/conv/kernel" in outside
    # Besides parameters: hidden states and the time embedding or context, two per block.
    assert len(inside) >= len(of_blocks)
    assert len(inside) - len(of_blocks) <= 2 * 12
    assert shapes["conv_in/kernel"] not in inside


def layers_called(model, unet, *, remat):
    """The full path of every layer with a kernel that is called, in order."""
    calls = []

    def watch(next_fun, args, kwargs, context):
        if context.method_name == "__call__" and isinstance(context.module, (nn.Dense, nn.Conv)):
            calls.append(full_path(context.module))
        return next_fun(*args, **kwargs)

    def call(unet):
        with nn.intercept_methods(watch):
            return denoise(model, unet, remat=remat)

    jax.eval_shape(call, unet)
    return calls


def test_a_layer_has_one_path_inside_and_outside_of_a_block(micro):
    model, params = micro
    inside = layers_called(model, params["unet"], remat=True)
    assert inside == layers_called(model, params["unet"], remat=False)
    flat = flax.traverse_util.flatten_dict(params["unet"])
    assert set(inside) == {path[:-1] for path in flat if path[-1] == "kernel"}


class Inner(nn.Module):
    """What is rematerialised, with an argument by place and one by name."""

    @nn.compact
    def __call__(self, x, y, *, double=False):
        """A dense layer between other things."""
        x = jnp.sin(nn.Dense(3)(x) + y)
        return 2 * x if double else x


class Outer(nn.Module):
    """Two blocks, the second within a module of its own."""

    @nn.compact
    def __call__(self, x):
        """Both blocks, one after the other."""
        x = Inner(name="first")(x, 1.0)
        return Holder(name="holder")(x)


class Holder(nn.Module):
    """Between a block and the root."""

    @nn.compact
    def __call__(self, x):
        """The block, with its argument by name."""
        return Inner(name="second")(x, jnp.ones(3), double=True)


def test_arguments_by_name_and_nested_places():
    x = np.random.default_rng(0).standard_normal((2, 3), np.float32)
    module = Outer()
    params = module.init(jax.random.key(0), x)

    def apply(params):
        with rematerialised((Inner,)):
            return module.apply(params, x)

    np.testing.assert_allclose(apply(params), module.apply(params, x), rtol=1e-6)
    jaxpr = jax.make_jaxpr(apply)(params)
    assert sum(map(is_checkpoint, equations(jaxpr.jaxpr))) == 2


def test_a_path_is_the_root_s_again_after_a_block_fails():
    paths = []

    class Failing(nn.Module):
        @nn.compact
        def __call__(self, x):
            paths.append(full_path(self))
            raise ValueError("inside")

    class Root(nn.Module):
        @nn.compact
        def __call__(self, x):
            paths.append(full_path(self))
            return Failing(name="block")(x)

    for _ in range(2):
        with rematerialised((Failing,)), pytest.raises(ValueError, match="inside"):
            Root().apply({"params": {"block": {"bias": jnp.ones(1)}}}, jnp.ones(1))
    assert paths == [(), ("block",)] * 2

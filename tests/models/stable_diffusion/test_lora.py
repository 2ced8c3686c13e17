"""LoRA: nothing at first, then what merged weights compute; and where it goes."""

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamda_jax.models.stable_diffusion import loading, lora
from dreamda_jax.models.stable_diffusion import model as stable_diffusion
from dreamda_jax.models.stable_diffusion.model import REMAT_BLOCKS
from dreamda_jax.models.stable_diffusion.remat import rematerialised
from dreamda_jax.plan.known_configs import SD15

RANK, SCALE = 2, 1.5
LATENTS, TARGET = np.random.default_rng(0).standard_normal((2, 2, 4, 4, 4), np.float32)
CONTEXT = np.random.default_rng(1).standard_normal((2, 16, 48), np.float32)
TIMESTEPS = np.array([3, 700])
# Float32 sums in another order, through a network whose outputs are of size 1.
CLOSE = 2e-5


class Case:
    """The micro model, its adapters, and the compiled functions of both."""

    def __init__(self, model, params):
        self.unet = params["unet"]
        self.shapes = lora.target_shapes(self.unet)
        self.fresh = lora.init_adapters(jax.random.key(0), self.shapes, rank=RANK)
        self.trained = {
            path: {**adapter, "up": 0.3 * jax.random.normal(jax.random.key(i), (RANK, outputs))}
            for i, (path, adapter) in enumerate(self.fresh.items())
            for outputs in [self.shapes[path][1]]
        }

        def denoise(unet):
            return model.denoise({"unet": unet}, LATENTS, TIMESTEPS, CONTEXT)

        def loss(output):
            return jnp.mean(jnp.square(output - TARGET)), output

        def adapted(adapters, unet, remat):
            with (
                lora.adapted(adapters, scale=SCALE),
                rematerialised(REMAT_BLOCKS if remat else ()),
            ):
                return loss(denoise(unet))

        def merged(adapters, unet):
            return loss(denoise(lora.merge(unet, adapters, scale=SCALE)))

        def differentiated(function, *args):
            """`f(adapters) -> ((loss, output), gradient)`; parameters are an argument inside."""
            compiled = jax.jit(
                lambda adapters, unet: jax.value_and_grad(function, has_aux=True)(
                    adapters, unet, *args
                )
            )
            return lambda adapters: compiled(adapters, self.unet)

        self.plain = jax.jit(denoise)
        self.adapted = differentiated(adapted, False)
        self.rematerialised = differentiated(adapted, True)
        self.merged = differentiated(merged)


@pytest.fixture(scope="module")
def case(micro_checkpoint):
    return Case(*loading.load(micro_checkpoint))


def difference(one, other):
    assert one.shape == other.shape
    return np.abs(np.asarray(one) - np.asarray(other)).max()


def attention_projections(unet):
    """From the names: the layers of self attention (attn1) and cross attention (attn2)."""
    flat = flax.traverse_util.flatten_dict(unet)
    return {
        "/".join(path[:-1]): leaf.shape
        for path, leaf in flat.items()
        if path[-1] == "kernel" and path[-3:-2] in (("attn1",), ("attn2",))
    }


def test_targets_are_all_attention_projections_and_nothing_else(case):
    expected = attention_projections(case.unet)
    assert case.shapes == expected
    assert len(expected) == 4 * 2 * 4  # transformers, self and cross, projections
    assert list(case.shapes) == sorted(case.shapes)


def test_stable_diffusion_15_has_the_published_number_of_parameters():
    model = stable_diffusion.from_configs(
        unet_config=SD15.unet,
        vae_config=SD15.vae,
        text_config=SD15.text_encoder,
        scheduler_config=SD15.scheduler,
    )
    unet = stable_diffusion.abstract_params(model)["unet"]
    shapes = lora.target_shapes(unet)
    assert shapes == attention_projections(unet)
    assert len(shapes) == 16 * 2 * 4
    adapters = jax.eval_shape(
        lambda key: lora.init_adapters(key, shapes, rank=4), jax.random.key(0)
    )
    # What diffusers' scripts train at rank 4, a file of 3.2 MB.
    assert sum(leaf.size for leaf in jax.tree.leaves(adapters)) == 797_184


def test_init_is_that_of_diffusers_scripts():
    shapes = {"a": (300, 40), "b": (300, 40), "c": (7, 5)}
    adapters = lora.init_adapters(jax.random.key(1), shapes, rank=8)
    for path, (inputs, outputs) in shapes.items():
        down, up = adapters[path]["down"], adapters[path]["up"]
        assert (down.shape, up.shape) == ((inputs, 8), (8, outputs))
        assert down.dtype == up.dtype == jnp.float32
        assert not up.any()
    down = np.asarray(adapters["a"]["down"], np.float64)
    # N(0, 1/r²), within five standard errors.
    assert abs(down.mean()) < 5 / 8 / np.sqrt(down.size)
    assert abs(8 * down.std() - 1) < 5 / np.sqrt(2 * down.size)
    assert abs(np.corrcoef(down.ravel(), adapters["b"]["down"].ravel())[0, 1]) < 5 / 2400**0.5
    again = lora.init_adapters(jax.random.key(1), shapes, rank=8)
    np.testing.assert_array_equal(again["a"]["down"], adapters["a"]["down"])
    other = lora.init_adapters(jax.random.key(2), shapes, rank=8)
    assert (other["a"]["down"] != adapters["a"]["down"]).all()


def test_fresh_adapters_change_nothing(case):
    (_, output), gradient = case.adapted(case.fresh)
    assert difference(output, case.plain(case.unet)) < CLOSE
    merged = lora.merge(case.unet, case.fresh, scale=SCALE)
    for one, other in zip(jax.tree.leaves(merged), jax.tree.leaves(case.unet), strict=True):
        np.testing.assert_array_equal(one, other)
    # With "up" at nought there is no gradient of "down" yet, and one of every "up".
    for path, each in gradient.items():
        assert not each["down"].any(), path
        assert each["up"].any(), path


def test_adapted_layers_compute_what_merged_weights_do(case):
    (loss, output), gradient = case.adapted(case.trained)
    assert_same(case.merged(case.trained), ((loss, output), gradient))
    assert difference(output, case.plain(case.unet)) > 1000 * CLOSE
    for path, each in gradient.items():
        for name, leaf in each.items():
            assert leaf.shape == case.trained[path][name].shape
            assert leaf.any(), (path, name)


def assert_same(found, expected):
    """Outputs, and gradients in units of the largest."""
    (loss, output), gradient = expected
    assert difference(found[0][1], output) < CLOSE
    np.testing.assert_allclose(found[0][0], loss, rtol=1e-5)
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(gradient))
    for one, other in zip(jax.tree.leaves(found[1]), jax.tree.leaves(gradient), strict=True):
        # Float32 sums in another order; measured at most 1.5e-5.
        assert difference(one, other) < 1e-4 * largest


def test_adapters_apply_inside_rematerialised_blocks(case):
    assert_same(case.rematerialised(case.trained), case.adapted(case.trained))


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
def test_merge_on_the_host_is_merge_on_the_device(dtype):
    rng = np.random.default_rng(0)
    kernel, bias = rng.standard_normal((5, 3)).astype(dtype), np.ones(3, dtype)
    params = {"block": {"to_q": {"kernel": kernel, "bias": bias}, "to_k": {"kernel": kernel}}}
    adapters = {
        "block/to_q": {
            "down": rng.standard_normal((5, 2), np.float32),
            "up": rng.standard_normal((2, 3), np.float32),
        }
    }
    on_host = lora.merge(params, adapters, scale=0.5)
    assert isinstance(on_host["block"]["to_q"]["kernel"], np.ndarray)
    to_device = lambda tree: jax.tree.map(jnp.asarray, tree)  # noqa: E731
    on_device = lora.merge(to_device(params), to_device(adapters), scale=0.5)
    assert isinstance(on_device["block"]["to_q"]["kernel"], jax.Array)
    down, up = (adapters["block/to_q"][name].astype(np.float64) for name in ("down", "up"))
    expected = kernel.astype(np.float64) + 0.5 * down @ up
    for merged in (on_host, on_device):
        found = merged["block"]["to_q"]["kernel"]
        assert found.dtype == dtype
        # Half a unit in the last place of bfloat16 is 2^-9.
        rtol = 1e-5 if dtype == np.float32 else 2**-8
        np.testing.assert_allclose(np.asarray(found, np.float64), expected, rtol=rtol, atol=1e-6)
        np.testing.assert_array_equal(merged["block"]["to_k"]["kernel"], kernel)
        np.testing.assert_array_equal(merged["block"]["to_q"]["bias"], bias)
    np.testing.assert_array_equal(params["block"]["to_q"]["kernel"], kernel)  # not in place


def test_an_adapter_without_a_layer_cannot_be_merged():
    adapters = {"b/to_q": {"down": np.ones((3, 1), np.float32), "up": np.ones((1, 3), np.float32)}}
    with pytest.raises(KeyError):
        lora.merge({"a": {"to_q": {"kernel": np.eye(3, dtype=np.float32)}}}, adapters, scale=1.0)


class Two(nn.Module):
    """Two layers of one name in different places."""

    dtype: object = jnp.float32

    @nn.compact
    def __call__(self, x):
        """The output of each."""
        return [Holder(name=name, dtype=self.dtype)(x) for name in ("a", "b")]


class Holder(nn.Module):
    """A layer that is no root."""

    dtype: object

    @nn.compact
    def __call__(self, x):
        """Its output."""
        return nn.Dense(1, use_bias=False, dtype=self.dtype, name="to_q")(x)


def test_only_the_layer_of_that_path_is_adapted():
    x = jnp.float32([[1.0, 2.0]])
    kernel = jnp.float32([[1.0], [1.0]])
    params = {"params": {name: {"to_q": {"kernel": kernel}} for name in ("a", "b")}}
    adapters = {"b/to_q": {"down": jnp.float32([[1.0], [0.0]]), "up": jnp.float32([[10.0]])}}
    with lora.adapted(adapters, scale=2.0):
        assert [float(y[0, 0]) for y in Two().apply(params, x)] == [3.0, 23.0]
    assert [float(y[0, 0]) for y in Two().apply(params, x)] == [3.0, 3.0]


def test_a_small_update_is_not_lost_in_a_bfloat16_weight():
    params = {"a": {"to_q": {"kernel": jnp.bfloat16([[1.0], [-1.0]])}}}
    params["b"] = params["a"]
    adapters = {"a/to_q": {"down": jnp.ones((2, 1)), "up": jnp.float32([[1e-3]])}}
    x = jnp.bfloat16([[1.0, 1.0]])
    module = Two(dtype=jnp.bfloat16)
    with lora.adapted(adapters, scale=1.0):
        output = module.apply({"params": params}, x)[0]
    assert output.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float32(output), 2e-3, rtol=2**-7)
    # In the weights, whose neighbours are 2^-8 and 2^-7 away, it would be.
    merged = lora.merge(params, adapters, scale=1.0)
    assert module.apply({"params": merged}, x)[0] == 0

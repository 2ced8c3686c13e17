"""The interceptor: against its oracle, on every site, and with nothing else touched."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamda_jax.algorithms.diffusion import keys as keys_lib
from dreamda_jax.algorithms.diffusion.keys import Stream
from dreamda_jax.algorithms.diffusion.perturb import perturbed_call, site_module_name
from dreamda_jax.models.stable_diffusion.model import UNET_BLOCKS
from tests.support.toy_network import ToyStableDiffusion

FAST = {"xla_backend_optimization_level": 0}  # compiling costs more than running
TIMESTEP = 481
GENERATOR = np.random.default_rng(0)
LATENTS = GENERATOR.standard_normal((2, 4, 8, 8), np.float32)
TINY_CONTEXT = GENERATOR.standard_normal((2, 16, 64), np.float32)
TOY_CONTEXT = GENERATOR.standard_normal((2, 2, 4), np.float32)
TINY_SITES = {  # and the shape of what they put out
    "bottleneck": (2, 4, 4, 128),
    "encoder_0": (2, 4, 4, 64),
    "encoder_1": (2, 4, 4, 128),
    "decoder_0": (2, 8, 8, 128),
    "decoder_1": (2, 8, 8, 64),
}
TOY_SITES = ("bottleneck", "encoder_0", "decoder_0")


def call(denoise, site, noise, *, context, noise_scale=2.0, keep_clean, blocks=2):
    return perturbed_call(
        denoise,
        jnp.asarray(LATENTS),
        jnp.int32(TIMESTEP),
        jnp.asarray(context),
        blocks=UNET_BLOCKS,
        module_name=site_module_name(site, num_encoder_blocks=blocks, num_decoder_blocks=blocks),
        noise_scale=noise_scale,
        draw=lambda shape: noise,
        keep_clean=keep_clean,
    )


@pytest.mark.parametrize("site", ["bottleneck", "encoder_0", "decoder_0"])
def test_clean_and_noisy_half_on_the_tiny_model(tiny, network, site):
    """One call for both halves equals two; at the bottleneck, the U-Net's own residual too."""
    model, params = tiny
    noise = np.random.default_rng(1).standard_normal(TINY_SITES[site], np.float32)
    oracle = site == "bottleneck"

    def both(params, noise):
        def denoise(latents, timestep, context):
            return model.denoise(params, latents, timestep, context)

        doubled = call(denoise, site, noise, context=TINY_CONTEXT, keep_clean=True)
        alone = call(denoise, site, noise, context=TINY_CONTEXT, keep_clean=False)
        return doubled, alone

    doubled, alone = jax.jit(both, compiler_options=FAST)(params, noise)
    clean = network(LATENTS, TIMESTEP, TINY_CONTEXT)
    # The same float32 network, in batches of 2 and 4: sums in another order, outputs of size 4.
    close = {"rtol": 1e-5, "atol": 1e-5}
    np.testing.assert_allclose(doubled.clean, clean, **close)
    np.testing.assert_allclose(doubled.noisy, alone.noisy, **close)
    assert alone.clean is None
    assert np.abs(alone.noisy - clean).max() > 0.1
    np.testing.assert_allclose(doubled.mean_square, alone.mean_square, rtol=1e-5)
    if oracle:
        residual = network(LATENTS, TIMESTEP, TINY_CONTEXT, 2.0 * noise)
        print(f"interceptor against oracle: max {np.abs(alone.noisy - residual).max():.2g}")
        np.testing.assert_allclose(alone.noisy, residual, **close)
        np.testing.assert_allclose(doubled.noisy, residual, **close)


@pytest.mark.parametrize("site", TINY_SITES)
def test_shapes_on_the_tiny_model(tiny, site):
    """Every site of the paper's tables traces, with and without the clean half; nothing is run."""
    model, params = tiny
    shapes = []

    def trace(params, keep_clean):
        def draw(shape):
            shapes.append(shape)
            return jnp.zeros(shape)

        return perturbed_call(
            lambda *args: model.denoise(params, *args),
            jnp.asarray(LATENTS),
            jnp.int32(TIMESTEP),
            jnp.asarray(TINY_CONTEXT),
            blocks=UNET_BLOCKS,
            module_name=site_module_name(site, num_encoder_blocks=2, num_decoder_blocks=2),
            noise_scale=1.0,
            draw=draw,
            keep_clean=keep_clean,
        )

    result = jax.eval_shape(lambda params: trace(params, True), params)
    assert result.noisy.shape == result.clean.shape == LATENTS.shape
    assert shapes == [TINY_SITES[site]]  # drawn once


@pytest.mark.parametrize("site", TOY_SITES)
def test_clean_and_noisy_half_on_the_toy(site):
    toy = ToyStableDiffusion()
    noise = np.random.default_rng(1).standard_normal((2, 8, 8, 4), np.float32)

    def denoise(*args):
        return toy.denoise({}, *args)

    plain = denoise(LATENTS, TIMESTEP, TOY_CONTEXT)
    doubled = call(denoise, site, noise, context=TOY_CONTEXT, keep_clean=True, blocks=1)
    alone = call(denoise, site, noise, context=TOY_CONTEXT, keep_clean=False, blocks=1)
    none = call(
        denoise, site, noise, context=TOY_CONTEXT, noise_scale=0.0, keep_clean=False, blocks=1
    )
    close = {"rtol": 1e-6, "atol": 1e-6}  # elementwise float32 work, the same for every batch
    np.testing.assert_allclose(doubled.clean, plain, **close)
    np.testing.assert_allclose(doubled.noisy, alone.noisy, **close)
    np.testing.assert_allclose(none.noisy, plain, **close)
    assert np.abs(alone.noisy - plain).max() > 0.1
    if site == "bottleneck":
        oracle = toy.denoise(
            {}, LATENTS, TIMESTEP, TOY_CONTEXT, mid_block_additional_residual=2.0 * noise
        )
        np.testing.assert_allclose(alone.noisy, oracle, **close)
    if site == "decoder_0":  # the last block: its noise comes out as it went in
        added = np.transpose(alone.noisy - plain, (0, 2, 3, 1))
        np.testing.assert_allclose(added, 2.0 * noise, rtol=1e-5, atol=1e-5)


def test_an_encoder_block_s_skip_connection_gets_the_same_noise():
    """Block and skip are one tensor: written out by hand for the toy, whose decoder reads both."""
    toy, seen = ToyStableDiffusion(), {}
    noise = np.random.default_rng(1).standard_normal((2, 8, 8, 4), np.float32)

    def watch(next_fun, args, kwargs, context):
        if context.method_name == "__call__":
            seen[context.module.name] = (args, kwargs)
        return next_fun(*args, **kwargs)

    def denoise(*args):
        with nn.intercept_methods(watch):
            return toy.denoise({}, *args)

    denoise(LATENTS, TIMESTEP, TOY_CONTEXT)
    first, inner, outer = seen["up_blocks_0"][1]["skips"]
    call(denoise, "encoder_0", noise, context=TOY_CONTEXT, keep_clean=False, blocks=1)
    skips = seen["up_blocks_0"][1]["skips"]
    np.testing.assert_array_equal(skips[0], first)
    np.testing.assert_array_equal(skips[1], inner)
    np.testing.assert_allclose(skips[2], outer + 2.0 * noise, atol=1e-6)  # one rounding
    np.testing.assert_array_equal(seen["mid_block"][0][0], skips[2])


class Identity(nn.Module):
    dtype: jnp.dtype = jnp.float32

    def __call__(self, x):
        return x.astype(self.dtype)


class OneBlock(nn.Module):
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x):
        return Identity(self.dtype, name="mid_block")(x)


def add_real_noise(latents, keys, *, noise_scale=3.0, dtype=jnp.float32, keep_clean=False):
    return perturbed_call(
        lambda latents, timestep, context: OneBlock(dtype).apply({}, latents),
        latents,
        jnp.int32(TIMESTEP),
        jnp.zeros((len(latents), 1, 1)),
        blocks=(Identity,),
        module_name="mid_block",
        noise_scale=noise_scale,
        draw=lambda shape: keys_lib.normal(keys, TIMESTEP, Stream.PERTURBATION, shape[1:]),
        keep_clean=keep_clean,
    )


def test_noise_has_the_standard_deviation_asked_for():
    latents = jnp.asarray(np.random.default_rng(2).standard_normal((16, 4, 16, 16), np.float32))
    keys = keys_lib.seed_keys(jax.random.key_data(jax.random.key(0)), np.arange(16))
    result = jax.jit(add_real_noise, compiler_options=FAST)(latents, keys)
    noise = np.asarray(result.noisy - latents, np.float64) / 3.0
    n = noise.size
    assert abs(noise.mean()) < 5 / np.sqrt(n)
    assert abs(noise.var() - 1) < 5 * np.sqrt(2 / n)
    # One row's noise is not another's.
    correlation = np.corrcoef(noise.reshape(16, -1))
    assert np.abs(correlation - np.eye(16)).max() < 5 / np.sqrt(1024)
    # What the noise is compared with is the feature map before it.
    np.testing.assert_allclose(result.mean_square, np.mean(np.square(latents)), rtol=1e-5)


def test_bfloat16_features_stay_bfloat16():
    latents = jnp.ones((2, 4, 2, 2))
    result = perturbed_call(
        lambda latents, timestep, context: OneBlock(jnp.bfloat16).apply({}, latents),
        latents,
        jnp.int32(TIMESTEP),
        jnp.zeros((2, 1, 1)),
        blocks=(Identity,),
        module_name="mid_block",
        noise_scale=0.25,
        draw=jnp.ones,
        keep_clean=True,
    )
    assert result.noisy.dtype == result.clean.dtype == jnp.bfloat16
    assert result.mean_square.dtype == jnp.float32
    np.testing.assert_array_equal(result.noisy.astype(np.float32), 1.25)
    np.testing.assert_array_equal(result.clean.astype(np.float32), 1.0)


def test_vae_is_untouched_by_an_active_interceptor(tiny):
    """The VAE has a mid block of the same name; noise there would be silent."""
    model, params = tiny
    toy = ToyStableDiffusion()
    images = np.random.default_rng(3).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)

    def vae(params):
        latents = model.encode_image(params, images)
        return latents, model.decode_latents_float(params, jnp.asarray(LATENTS))

    def both(params):
        inside, drawn = [], []

        def denoise(*args):
            inside.extend(vae(params))
            return toy.denoise({}, *args)

        perturbed_call(
            denoise,
            jnp.asarray(LATENTS),
            jnp.int32(TIMESTEP),
            jnp.asarray(TOY_CONTEXT),
            blocks=UNET_BLOCKS,
            module_name="mid_block",
            noise_scale=100.0,
            draw=lambda shape: drawn.append(shape) or jnp.ones(shape),
            keep_clean=True,
        )
        assert drawn == [(2, 8, 8, 4)]  # the toy's bottleneck and nothing else
        return vae(params), tuple(inside)

    names = set()

    def collect(next_fun, args, kwargs, context):
        names.add(context.module.name)
        return next_fun(*args, **kwargs)

    with nn.intercept_methods(collect):
        jax.eval_shape(vae, params)
    assert "mid_block" in names  # or the test would prove nothing
    outside, inside = jax.jit(both, compiler_options=FAST)(params)
    for with_interceptor, without in zip(inside, outside, strict=True):
        np.testing.assert_array_equal(with_interceptor, without)


def test_site_names():
    counts = {"num_encoder_blocks": 4, "num_decoder_blocks": 3}
    assert site_module_name("bottleneck", **counts) == "mid_block"
    assert site_module_name("encoder_3", **counts) == "down_blocks_3"
    assert site_module_name("decoder_2", **counts) == "up_blocks_2"


@pytest.mark.parametrize("site", ["encoder_2", "decoder_9", "encoder", "mid_block", "", "x_1"])
def test_unknown_site_lists_those_there_are(site):
    with pytest.raises(ValueError, match="unknown perturbation site") as error:
        site_module_name(site, num_encoder_blocks=2, num_decoder_blocks=1)
    assert repr(site) in str(error.value)
    assert str(error.value).endswith("bottleneck, encoder_0, encoder_1, decoder_0, x_T, x_t, x_0")


def test_block_that_is_never_called():
    toy = ToyStableDiffusion()
    with pytest.raises(ValueError, match="called no block named 'up_blocks_1'"):
        call(
            lambda *args: toy.denoise({}, *args),
            "decoder_1",
            0.0,
            context=TOY_CONTEXT,
            keep_clean=False,
        )

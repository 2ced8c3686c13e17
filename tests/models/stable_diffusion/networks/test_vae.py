"""The VAE against PyTorch's outputs (tests/reference/make_vae_and_text.py made the arrays)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamda_jax.models.flax_modules import build_module
from dreamda_jax.models.stable_diffusion.networks.vae import FlaxAutoencoderKL
from tests.reference import make_vae_and_text as reference
from tests.support.named_weights import named_params
from tests.support.paths import REFERENCE

ARRAYS = np.load(REFERENCE / "vae_and_text.npz")
# Of the largest number; 2e-7 to 9e-7 measured. Norms with an epsilon of 1e-5 are 4e-6 to 3e-5 away.
TOLERANCE = 2.5e-6


def difference(ours, theirs):
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype == np.float32
    return np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max()


@pytest.fixture(params=reference.VAES)
def vae(request):
    """(name, module, variables) of each of the reference's."""
    module = build_module(FlaxAutoencoderKL, reference.VAES[request.param])
    params = named_params(module, jnp.asarray(reference.pixels(request.param)))
    return request.param, module, {"params": params}


def test_encoder_and_decoder_equal_pytorch(vae):
    name, module, variables = vae

    @jax.jit
    def both(variables, pixels, latents):
        posterior = module.apply(variables, pixels, method="encode")
        return posterior, module.apply(variables, latents, method="decode")

    posterior, decoded = both(variables, reference.pixels(name), reference.latents(name))
    assert difference(posterior.mean, ARRAYS[f"{name}/mean"]) < TOLERANCE
    assert difference(posterior.std, ARRAYS[f"{name}/std"]) < TOLERANCE
    assert difference(decoded, ARRAYS[f"{name}/decoded"]) < TOLERANCE


def test_what_a_config_leaves_out_has_no_parameters():
    def names(name):
        module = build_module(FlaxAutoencoderKL, reference.VAES[name])
        pixels = jnp.asarray(reference.pixels(name))
        return jax.eval_shape(module.init, jax.random.key(0), pixels)["params"]

    assert set(names("plain")) == {"encoder", "decoder", "quant_conv", "post_quant_conv"}
    assert set(names("bare")) == {"encoder", "decoder"}
    assert "attentions_0" in names("bare")["decoder"]["mid_block"]
    assert "attentions_0" not in names("no_attention")["decoder"]["mid_block"]


def test_standard_deviations_have_bounds():
    """Log-variances end at -30 and 20, as in diffusers: nothing is infinite."""
    config = reference.VAES["bare"]
    module = build_module(FlaxAutoencoderKL, config)
    pixels = jnp.asarray(reference.pixels("bare"))
    params = named_params(module, pixels)
    bias = params["encoder"]["conv_out"]["bias"]
    bias[bias.size // 2 :] = 1e4
    posterior = module.apply({"params": params}, pixels, method="encode")
    np.testing.assert_allclose(posterior.std, np.exp(10.0), rtol=1e-6)

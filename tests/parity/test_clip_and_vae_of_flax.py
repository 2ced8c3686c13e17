"""Our CLIP and VAE beside the Flax classes that diffusers 0.39 and transformers 4.57 still had.

Run with `pytest -m parity` where those are installed. Names and shapes are equal, so their msgpack
files load; the numbers are those of the same formulas, but for the VAE's norms, whose variances the
Flax class takes as E[x²] − E[x]².
"""

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamda_jax.models.clip.config import read_clip_config, read_text_config
from dreamda_jax.models.clip.text_model import (
    FlaxCLIPTextModelWithProjectionModule,
    FlaxCLIPTextModule,
)
from dreamda_jax.models.clip.vision_model import FlaxCLIPModule
from dreamda_jax.models.flax_modules import build_module
from dreamda_jax.models.stable_diffusion.networks.vae import FlaxAutoencoderKL
from dreamda_jax.plan.known_configs import SD15, SD21
from tests.reference.make_clip import CONFIG
from tests.reference.make_vae_and_text import TEXT, VAES, latents, pixels, token_ids
from tests.support.named_weights import named_params

theirs_vae = pytest.importorskip("diffusers.models.vae_flax", exc_type=ImportError)
theirs_clip = pytest.importorskip(
    "transformers.models.clip.modeling_flax_clip", exc_type=ImportError
)

pytestmark = pytest.mark.parity
IDS = token_ids()
PLACES = np.broadcast_to(np.arange(IDS.shape[1]), IDS.shape)
TEXTS = [SD15.text_encoder, SD21.text_encoder, TEXT]
CLIPS = [CONFIG, {"text_config": TEXT, "vision_config": {"hidden_act": "gelu"}}, {}]


def shapes(module, *inputs):
    made = jax.eval_shape(module.init, jax.random.key(0), *inputs)["params"]
    return {path: x.shape for path, x in flax.traverse_util.flatten_dict(made).items()}


@pytest.mark.parametrize("config", [SD15.vae, SD21.vae, VAES["plain"]])
def test_vaes_have_the_same_parameters(config):
    side = 2 ** len(config["block_out_channels"])
    ours = shapes(build_module(FlaxAutoencoderKL, config), jnp.zeros((1, side, side, 3)))
    their_module = build_module(theirs_vae.FlaxAutoencoderKL, config)
    assert ours == shapes(their_module, jnp.zeros((1, 3, side, side)))


@pytest.mark.parametrize("config", TEXTS)
def test_text_encoders_have_the_same_parameters(config):
    from transformers import CLIPTextConfig

    ours, theirs = read_text_config(config, where="config.json"), CLIPTextConfig(**config)
    inputs = IDS, None, PLACES
    assert shapes(FlaxCLIPTextModule(ours), IDS) == shapes(
        theirs_clip.FlaxCLIPTextModule(theirs), *inputs
    )
    assert shapes(FlaxCLIPTextModelWithProjectionModule(ours), IDS) == shapes(
        theirs_clip.FlaxCLIPTextModelWithProjectionModule(theirs), *inputs
    )


@pytest.mark.parametrize("raw", CLIPS)
def test_whole_clips_have_the_same_parameters(raw):
    from transformers import CLIPConfig

    config = read_clip_config(raw, where="config.json")
    side = config.vision_config.image_size
    images = jnp.zeros((1, side, side, 3))
    theirs = theirs_clip.FlaxCLIPModule(CLIPConfig(**raw))
    assert shapes(FlaxCLIPModule(config), IDS, images) == shapes(theirs, IDS, images, None, PLACES)


def test_classes_have_the_same_names():
    def names(module, *inputs):
        found = set()

        def note(next_fun, args, kwargs, context):
            found.add(type(context.module).__name__)
            return next_fun(*args, **kwargs)

        with flax.linen.intercept_methods(note):
            jax.eval_shape(module.init, jax.random.key(0), *inputs)
        return found

    from transformers import CLIPConfig

    images = np.zeros((1, 32, 32, 3), np.float32)
    ours = names(FlaxCLIPModule(read_clip_config(CONFIG, where="config.json")), IDS, images)
    clip = theirs_clip.FlaxCLIPModule(CLIPConfig(**CONFIG))
    assert ours == names(clip, IDS, images, None, PLACES)
    ours = names(build_module(FlaxAutoencoderKL, VAES["plain"]), images)
    vae = build_module(theirs_vae.FlaxAutoencoderKL, VAES["plain"])
    assert ours == names(vae, images.transpose(0, 3, 1, 2)) - {"Dropout"}


def test_text_encoders_compute_the_same():
    from transformers import CLIPTextConfig

    ours = FlaxCLIPTextModule(read_text_config(TEXT, where="config.json"))
    theirs = theirs_clip.FlaxCLIPTextModule(CLIPTextConfig(**TEXT))
    variables = {"params": named_params(ours, IDS)}
    found = jax.jit(ours.apply)(variables, IDS)
    expected = theirs.apply(variables, IDS, None, PLACES)
    # Numbers up to 3.3.
    np.testing.assert_allclose(found.last_hidden_state, expected.last_hidden_state, atol=1e-5)
    np.testing.assert_allclose(found.pooled, expected.pooler_output, atol=1e-5)


def test_vaes_compute_the_same():
    config = VAES["plain"]
    ours, theirs = (
        build_module(cls, config) for cls in (FlaxAutoencoderKL, theirs_vae.FlaxAutoencoderKL)
    )
    images, cells = pixels("plain"), latents("plain")
    variables = {"params": named_params(ours, jnp.asarray(images))}
    posterior = ours.apply(variables, images, method="encode")
    nchw = images.transpose(0, 3, 1, 2)
    expected = theirs.apply(variables, nchw, method=theirs.encode).latent_dist
    np.testing.assert_allclose(posterior.mean, expected.mean, atol=1e-4)
    np.testing.assert_allclose(posterior.std, expected.std, rtol=1e-4)
    decoded = ours.apply(variables, cells, method="decode")
    sample = theirs.apply(variables, cells, method=theirs.decode).sample
    np.testing.assert_allclose(decoded, sample.transpose(0, 2, 3, 1), atol=1e-4)

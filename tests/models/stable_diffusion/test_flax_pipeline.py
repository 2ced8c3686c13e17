"""diffusers' own Flax pipeline, taken over: the same networks, tokens and images."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from dreamda_jax.errors import UserError
from dreamda_jax.models.stable_diffusion import loading
from dreamda_jax.synthesis.pipeline import DreamDAPipeline

OPTIONS = {"num_inference_steps": 4, "guidance_scale": 2.0, "num_variants": 1}


@pytest.fixture(scope="module")
def theirs(micro_checkpoint, tmp_path_factory):
    """What their `from_pretrained` returns of the checkpoint, saved by them as msgpack."""
    diffusers = pytest.importorskip("diffusers")
    if not hasattr(diffusers, "FlaxStableDiffusionPipeline"):
        pytest.skip("this diffusers has no Flax classes")
    import transformers

    where = str(micro_checkpoint)
    config = transformers.CLIPTextConfig.from_pretrained(where, subfolder="text_encoder")
    pipeline = diffusers.FlaxStableDiffusionPipeline(
        vae=diffusers.FlaxAutoencoderKL.from_config(
            diffusers.FlaxAutoencoderKL.load_config(where, subfolder="vae")
        ),
        text_encoder=transformers.FlaxCLIPTextModel(config, _do_init=False),
        tokenizer=transformers.CLIPTokenizer.from_pretrained(where, subfolder="tokenizer"),
        unet=diffusers.FlaxUNet2DConditionModel.from_config(
            diffusers.FlaxUNet2DConditionModel.load_config(where, subfolder="unet")
        ),
        scheduler=diffusers.FlaxDDIMScheduler.from_pretrained(where, subfolder="scheduler")[0],
        safety_checker=None,
        feature_extractor=None,
    )
    _, params = loading.load(where)
    directory = tmp_path_factory.mktemp("flax")
    pipeline.save_pretrained(directory, params=jax.tree.map(np.asarray, params))
    return diffusers.FlaxStableDiffusionPipeline.from_pretrained(
        directory, safety_checker=None, feature_extractor=None
    )


def test_images_are_those_of_the_checkpoint_itself(theirs, micro_checkpoint):
    images = np.random.default_rng(0).integers(0, 255, (2, 8, 8, 3), dtype=np.uint8)
    made = [
        pipeline(params, images, "a bag", jax.random.key(0), **OPTIONS).images
        for pipeline, params in (
            DreamDAPipeline.from_flax_pipeline(*theirs),
            DreamDAPipeline.from_pretrained(str(micro_checkpoint)),
        )
    ]
    np.testing.assert_array_equal(*made)


def test_replicated_parameters_are_refused(theirs):
    pipeline, params = theirs
    stacked = jax.tree.map(lambda leaf: np.asarray(leaf)[None], params)
    with pytest.raises(UserError, match="Parameters that were replicated"):
        DreamDAPipeline.from_flax_pipeline(pipeline, stacked)
    with pytest.raises(UserError, match="params has no 'unet'"):
        DreamDAPipeline.from_flax_pipeline(pipeline, {"vae": params["vae"]})


def test_another_pipeline_is_refused():
    with pytest.raises(UserError, match="has no unet, vae, text_encoder, tokenizer, scheduler"):
        DreamDAPipeline.from_flax_pipeline(SimpleNamespace(), {})

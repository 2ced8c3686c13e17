"""The text encoder with a projection against PyTorch's (tests/reference/make_vae_and_text.py)."""

import dataclasses

import jax
import numpy as np
import pytest

from dreamda_jax.errors import UserError
from dreamda_jax.models.clip.config import read_clip_config, read_text_config
from dreamda_jax.models.clip.text_model import (
    FlaxCLIPTextModelWithProjectionModule,
    FlaxCLIPTextModule,
)
from tests.reference import make_vae_and_text as reference
from tests.support.named_weights import named_params
from tests.support.paths import REFERENCE

ARRAYS = np.load(REFERENCE / "vae_and_text.npz")
CONFIG = read_text_config(reference.TEXT, where="config.json")
# Numbers up to 3.3; 1.7e-6 measured. A norm's epsilon of 1e-5 is 3e-5 to 1e-4 away, tanh GELU 3e-4,
# quick_gelu 0.03.
TOLERANCE = 5e-6


@pytest.fixture(scope="module")
def params():
    module = FlaxCLIPTextModelWithProjectionModule(CONFIG)
    return named_params(module, reference.token_ids())


def test_all_outputs_equal_pytorch(params):
    module = FlaxCLIPTextModelWithProjectionModule(CONFIG)
    found = jax.jit(module.apply)({"params": params}, reference.token_ids())
    arrays = {
        "embedding": found.embedding,
        "last_hidden_state": found.output.last_hidden_state,
        "penultimate": found.output.hidden_states[-2],
    }
    for name, array in arrays.items():
        expected = ARRAYS[f"text/{name}"]
        assert array.dtype == expected.dtype == np.float32
        np.testing.assert_allclose(array, expected, atol=TOLERANCE, err_msg=name)


def test_the_first_end_token_is_pooled_and_in_old_configs_the_highest_id(params):
    ids = reference.token_ids()
    ids[2, 9] = 47
    text = {"text_model": params["text_model"]}
    for eos, places in ((49, [11, 6, 4]), (2, [11, 6, 4]), (48, [0, 0, 0])):
        module = FlaxCLIPTextModule(dataclasses.replace(CONFIG, eos_token_id=eos))
        found = module.apply({"params": text}, ids)
        expected = found.last_hidden_state[np.arange(3), np.array(places)]
        np.testing.assert_array_equal(found.pooled, expected)


def test_what_comes_later_is_not_seen(params):
    module = FlaxCLIPTextModule(CONFIG)
    text = {"text_model": params["text_model"]}
    ids = reference.token_ids()
    other = ids.copy()
    other[:, 7:] = 3
    first, second = (module.apply({"params": text}, x).last_hidden_state for x in (ids, other))
    np.testing.assert_allclose(first[:, :7], second[:, :7], atol=1e-6)
    assert np.abs(first[:, 7:] - second[:, 7:]).max() > 0.1


def test_more_tokens_than_places_are_an_error(params):
    with pytest.raises(ValueError, match="13 tokens, but the text encoder has 12 places"):
        FlaxCLIPTextModule(CONFIG).apply(
            {"params": {"text_model": params["text_model"]}}, np.zeros((1, 13), np.int32)
        )


@pytest.mark.parametrize("dtype", [np.float16, jax.numpy.bfloat16])
def test_half_floats_stay_what_they_are(params, dtype):
    module = FlaxCLIPTextModule(CONFIG, dtype)
    text = jax.tree.map(lambda x: x.astype(dtype), {"text_model": params["text_model"]})
    found = module.apply({"params": text}, reference.token_ids())
    assert found.last_hidden_state.dtype == found.pooled.dtype == dtype
    difference = np.abs(
        found.last_hidden_state.astype(np.float32) - ARRAYS["text/last_hidden_state"]
    )
    assert 1e-5 < difference.max() < (0.02 if dtype == np.float16 else 0.15)


def test_old_configs_hold_the_sizes_twice():
    raw = {
        "text_config": {"hidden_size": 48, "num_attention_heads": 4},
        "text_config_dict": {"hidden_size": 64, "num_hidden_layers": 3},
        "vision_config": {"hidden_size": 96},
        "vision_config_dict": None,
    }
    found = read_clip_config(raw, where="config.json")
    assert (found.text_config.hidden_size, found.text_config.num_hidden_layers) == (64, 3)
    assert found.text_config.num_attention_heads == 8  # the default, as in transformers
    assert (found.vision_config.hidden_size, found.projection_dim) == (96, 512)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"text_config": [1]}, "text_config is no object"),
        ({"projection_dim": None}, "projection_dim=None is not supported"),
        ({"vision_config": {"image_size": [224, 160]}}, r"vision_config\.image_size=\[224, 160\]"),
        ({"vision_config": {"num_channels": 1}}, r"num_channels=1 .*images are RGB"),
    ],
)
def test_configs_that_are_refused(raw, message):
    with pytest.raises(UserError, match=rf"config\.json: .*{message}"):
        read_clip_config(raw, where="config.json")

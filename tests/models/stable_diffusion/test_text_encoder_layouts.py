"""Text encoders as various versions and scripts write them: the same features, and a new file."""

import json

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from dreamda_jax.errors import UserError
from dreamda_jax.models.clip.config import read_text_config, with_vocabulary
from dreamda_jax.models.stable_diffusion import checkpoint_writer, loading
from dreamda_jax.models.stable_diffusion.checkpoint_files import find_checkpoint
from tests.support.make_checkpoint import TINY_SD

FILE = "text_encoder/model.safetensors"
CONFIG = "text_encoder/config.json"
PREFIX = "text_model."


def rewrite_tensors(checkpoint, change):
    """Replace the text encoder's tensors by `change(tensors)`."""
    tensors = load_file(checkpoint / FILE)
    save_file(change(tensors), checkpoint / FILE, {"format": "pt"})


def rewrite_config(checkpoint, change):
    file = checkpoint / CONFIG
    file.write_text(json.dumps(change(json.loads(file.read_text()))))


def without_prefix(checkpoint):
    """As transformers does since 5.6."""
    rewrite_tensors(
        checkpoint, lambda tensors: {key.removeprefix(PREFIX): x for key, x in tensors.items()}
    )


def of_a_whole_clip(checkpoint):
    """As if all of a CLIP had been saved in the text encoder's place."""
    others = {
        "logit_scale": np.asarray(2.6, np.float32),
        "text_projection.weight": np.zeros((32, 64), np.float32),
        "visual_projection.weight": np.zeros((32, 48), np.float32),
        "vision_model.post_layernorm.bias": np.zeros(48, np.float32),
        "vision_model.embeddings.position_ids": np.arange(5)[None],
    }
    rewrite_tensors(checkpoint, lambda tensors: tensors | others)
    rewrite_config(
        checkpoint,
        lambda text: {
            "model_type": "clip",
            "architectures": ["CLIPModel"],
            "projection_dim": 32,
            "text_config": text,
            "vision_config": {"hidden_size": 48},
        },
    )


def compiled(checkpoint):
    """As torch.compile's module gives its state dict."""
    rewrite_tensors(
        checkpoint, lambda tensors: {f"_orig_mod.{key}": x for key, x in tensors.items()}
    )


LAYOUTS = [without_prefix, of_a_whole_clip, compiled]


def features(directory):
    model, params = loading.load(directory)
    return np.asarray(jax.jit(model.encode_text)(params, model.tokenize(["a bag", ""])))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_features_are_those_of_the_unchanged_file(checkpoint, layout):
    layout(checkpoint)
    files = find_checkpoint(checkpoint)
    loading.check_params(loading.open_model(files), files)
    np.testing.assert_array_equal(features(checkpoint), features(TINY_SD))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_written_has_the_names_that_all_versions_read(checkpoint, layout, tmp_path):
    layout(checkpoint)
    files = find_checkpoint(checkpoint)
    model = loading.open_model(files)

    def load(name):
        assert name == "text_encoder"
        return loading.load_component(model, files, name, dtype=np.float32, place=np.asarray)

    checkpoint_writer.write_checkpoint(tmp_path / "written", files, changed={}, load=load)
    written = load_file(tmp_path / "written" / FILE)
    assert load_file(TINY_SD / FILE).keys() - {f"{PREFIX}embeddings.position_ids"} <= written.keys()
    np.testing.assert_array_equal(features(tmp_path / "written"), features(TINY_SD))


def test_a_larger_vocabulary_of_a_whole_clip_is_written_where_it_is_read(checkpoint):
    of_a_whole_clip(checkpoint)
    raw = json.loads((checkpoint / CONFIG).read_text())
    changed = with_vocabulary(raw, 700)
    assert read_text_config(changed, where=CONFIG).vocab_size == 700
    assert changed["vision_config"] == raw["vision_config"]
    assert with_vocabulary(raw["text_config"], 700)["vocab_size"] == 700


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("hidden_act", "relu", r"hidden_act='relu' is not supported \(supported: quick_gelu or g"),
        ("num_attention_heads", 5, "hidden_size=64 is no multiple of num_attention_heads=5"),
        ("num_hidden_layers", "two", r"num_hidden_layers='two' .*a whole number above 0"),
        ("layer_norm_eps", None, "layer_norm_eps=None is not supported"),
        ("vocab_size", True, "vocab_size=True is not supported"),
        ("eos_token_id", [1, 2], r"eos_token_id=\[1, 2\] is not supported"),
    ],
)
def test_what_cannot_be_computed_is_refused_by_name(checkpoint, field, value, message):
    rewrite_config(checkpoint, lambda config: config | {field: value})
    with pytest.raises(UserError, match=f"text_encoder/config.json: .*{message}"):
        loading.open_model(find_checkpoint(checkpoint))


def test_absent_fields_have_the_defaults_of_transformers(checkpoint):
    rewrite_config(
        checkpoint, lambda config: {k: x for k, x in config.items() if k != "layer_norm_eps"}
    )
    model = loading.open_model(find_checkpoint(checkpoint))
    assert model.text_encoder.config.layer_norm_eps == 1e-5


def test_weights_of_another_size_are_noticed_before_they_are_read(checkpoint):
    rewrite_config(checkpoint, lambda config: config | {"intermediate_size": 128})
    files = find_checkpoint(checkpoint)
    model = loading.open_model(files)
    with pytest.raises(UserError, match=r"fc1.* has shape \(256.*\), but the configuration"):
        loading.check_params(model, files)

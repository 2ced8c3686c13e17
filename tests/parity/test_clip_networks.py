"""CLIP's encoders of drawn sizes against PyTorch transformers, any version from 4.57.

Run with `pytest -m parity -s` in an environment with the extra "parity": -s shows the worst cases.
PARITY_EXAMPLES=200 draws as many.
"""

import dataclasses
import tempfile

import jax
import numpy as np
import pytest

from dreamda_jax.models.clip.config import read_clip_config, read_text_config
from dreamda_jax.models.clip.text_model import (
    FlaxCLIPTextModelWithProjectionModule,
    FlaxCLIPTextModule,
)
from dreamda_jax.models.clip.vision_model import FlaxCLIPModule
from dreamda_jax.models.weights.names import Leeway
from tests.parity.drawn_networks import Worst, drawn_again, fill, our_params

torch = pytest.importorskip("torch")
pytest.importorskip("hypothesis")
from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

pytestmark = pytest.mark.parity
LEEWAY = Leeway(prefix="text_model.")


@pytest.fixture(scope="module")
def worst():
    seen = Worst()
    yield seen
    seen.report()


@st.composite
def transformers(draw):
    """The fields that both encoders have."""
    heads = draw(st.integers(1, 4))
    return {
        "hidden_size": heads * draw(st.integers(1, 20)),
        "num_attention_heads": heads,
        "intermediate_size": draw(st.integers(1, 96)),
        "num_hidden_layers": draw(st.integers(1, 3)),
        "hidden_act": draw(st.sampled_from(["quick_gelu", "gelu"])),
        "layer_norm_eps": draw(st.sampled_from([1e-5, 1e-6, 1e-3])),
    }


@st.composite
def texts(draw):
    """The config of a text encoder, and token ids."""
    vocabulary, longest = draw(st.integers(4, 60)), draw(st.integers(2, 20))
    eos = draw(st.sampled_from([2, vocabulary - 1, 3]))
    config = draw(transformers()) | {
        "vocab_size": vocabulary,
        "max_position_embeddings": longest,
        "projection_dim": draw(st.integers(1, 24)),
        "eos_token_id": eos,
        "bos_token_id": 0,
        "pad_token_id": 1,
    }
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, longest)))
    return config, rng.integers(0, vocabulary, shape)


@st.composite
def images(draw):
    """The config of an image encoder; images need not be whole numbers of patches."""
    patch = draw(st.integers(1, 9))
    side = patch * draw(st.integers(1, 4)) + draw(st.integers(0, patch - 1))
    return draw(transformers()) | {"patch_size": patch, "image_size": side}


def both(module, *inputs):
    """A PyTorch module's output in float32 and in float64."""
    with torch.no_grad():
        single = module(*inputs, output_hidden_states=True)
        wide = [each.double() if each.is_floating_point() else each for each in inputs]
        return single, module.double()(*wide, output_hidden_states=True)


@drawn_again
@given(drawn=texts(), seed=st.integers(0, 2**32 - 1))
def test_text_encoders(worst, drawn, seed):
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    fields, ids = drawn
    theirs = fill(CLIPTextModelWithProjection(CLIPTextConfig(**fields)), seed)
    config = read_text_config(fields, where="config.json")
    projected = FlaxCLIPTextModelWithProjectionModule(config)
    plain = FlaxCLIPTextModule(config)
    with tempfile.TemporaryDirectory() as directory:
        params = our_params(theirs, projected, ids, directory=directory)
        alone = our_params(theirs.text_model, plain, ids, directory=directory, leeway=LEEWAY)
    whole = jax.jit(projected.apply)({"params": params}, ids)
    jax.tree.map(np.testing.assert_array_equal, alone, {"text_model": params["text_model"]})
    text = whole.output
    single, double = both(theirs, torch.from_numpy(ids))
    worst.check("text_embeds", whole.embedding, single.text_embeds, double.text_embeds)
    worst.check(
        "last_hidden_state",
        text.last_hidden_state,
        single.last_hidden_state,
        double.last_hidden_state,
    )
    assert len(text.hidden_states) == len(single.hidden_states) == config.num_hidden_layers + 1
    for arrays in zip(text.hidden_states, single.hidden_states, double.hidden_states, strict=True):
        worst.check("hidden_states", *arrays)


@drawn_again
@given(drawn=texts(), image=images(), width=st.integers(1, 24), seed=st.integers(0, 2**32 - 1))
def test_whole_clips(worst, drawn, image, width, seed):
    from transformers import CLIPConfig, CLIPModel

    text, ids = drawn
    raw = {"text_config": text, "vision_config": image, "projection_dim": width}
    theirs = fill(CLIPModel(CLIPConfig(**raw)), seed)
    module = FlaxCLIPModule(read_clip_config(raw, where="config.json"))
    side = image["image_size"]
    pixels = np.random.default_rng(seed).standard_normal((2, side, side, 3), np.float32)
    with tempfile.TemporaryDirectory() as directory:
        params = our_params(theirs, module, ids, pixels, directory=directory)

    @jax.jit
    def everything(variables):
        return (
            module.apply(variables, ids, pixels),
            module.apply(variables, ids, method="embed_texts"),
            module.apply(variables, pixels, method="embed_images"),
        )

    logits, of_texts, of_images = everything({"params": params})
    nchw = torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())
    single, double = both(theirs, torch.from_numpy(ids), nchw)
    worst.check("logits_per_text", logits, single.logits_per_text, double.logits_per_text)
    for name, ours in (("text_embeds", of_texts), ("image_embeds", of_images)):
        worst.check(f"CLIP's {name}", ours, getattr(single, name), getattr(double, name))


def test_defaults_are_those_of_transformers():
    from transformers import CLIPTextConfig, CLIPVisionConfig

    ours = read_clip_config({}, where="config.json")
    for config, theirs in (
        (ours.text_config, CLIPTextConfig()),
        (ours.vision_config, CLIPVisionConfig()),
    ):
        for name, value in dataclasses.asdict(config).items():
            assert value == getattr(theirs, name), name


def test_an_old_config_counts_as_in_transformers():
    from transformers import CLIPConfig

    raw = {
        "text_config": {"hidden_size": 48, "num_attention_heads": 4, "eos_token_id": 2},
        "text_config_dict": {"hidden_size": 64, "num_hidden_layers": 3},
        "vision_config": {"hidden_size": 96},
        "vision_config_dict": None,
        "projection_dim": 40,
    }
    ours, theirs = read_clip_config(raw, where="config.json"), CLIPConfig(**raw)
    for name in ("text_config", "vision_config"):
        for field, value in dataclasses.asdict(getattr(ours, name)).items():
            assert value == getattr(getattr(theirs, name), field), (name, field)

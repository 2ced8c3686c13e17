"""Stable Diffusion in Flax against PyTorch diffusers (tests/reference), and its refusals."""

import dataclasses
import json
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dreamda_jax.errors import UserError
from dreamda_jax.models.stable_diffusion import loading
from dreamda_jax.models.stable_diffusion import model as stable_diffusion
from dreamda_jax.plan.known_configs import SD15, SD21
from tests.support.make_checkpoint import TINY_SD
from tests.support.paths import REFERENCE

TOLERANCE = 2e-5


@pytest.fixture(scope="module", params=["model_tiny", "model_tiny_sd2"])
def case(request, tiny, tiny_sd2):
    """(model, params, reference arrays) of both models."""
    reference = np.load(REFERENCE / f"{request.param}.npz")
    model, params = tiny if request.param == "model_tiny" else tiny_sd2
    return model, params, reference


def max_difference(ours, theirs):
    ours = np.asarray(ours)
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype == np.float32
    return np.abs(ours - theirs).max()


def test_token_ids_equal_pytorch(case):
    model, _, reference = case
    np.testing.assert_array_equal(model.tokenize(reference["prompts"]), reference["token_ids"])


def test_text_encoder_equals_pytorch(case):
    model, params, reference = case
    hidden = jax.jit(model.encode_text)(params, reference["token_ids"])
    assert max_difference(hidden, reference["text_hidden"]) < TOLERANCE


def test_vae_encode_equals_pytorch(case):
    model, params, reference = case
    latents = jax.jit(model.encode_image)(params, reference["images"])
    assert max_difference(latents, reference["encoded"]) < TOLERANCE


def test_vae_decode_equals_pytorch(case):
    model, params, reference = case

    @jax.jit  # one program for both
    def decode(params, latents):
        return model.decode_latents_float(params, latents), model.decode_latents(params, latents)

    decoded, images = decode(params, reference["latents"])
    assert max_difference(decoded, reference["decoded"]) < TOLERANCE
    expected = np.round(np.clip(reference["decoded"] / 2 + 0.5, 0, 1) * 255).astype(np.int32)
    assert images.dtype == np.uint8
    assert (
        np.abs(np.asarray(images) - expected).max() <= 1
    )  # a pixel may sit on the edge of rounding


def test_unet_equals_pytorch(case):
    model, params, reference = case
    context = reference["text_hidden"][:2]
    residual = np.transpose(reference["residual"], (0, 2, 3, 1))

    @jax.jit  # one program for every case: adding zeros changes nothing
    def denoise(t, residual):
        return model.denoise(
            params, reference["latents"], t, context, mid_block_additional_residual=residual
        )

    for i, t in enumerate(reference["timesteps"]):
        t = np.full(2, t)
        ours = denoise(t, np.zeros_like(residual))
        assert max_difference(ours, reference["unet"][i]) < TOLERANCE, t
        ours = denoise(t, residual)
        assert max_difference(ours, reference["unet_residual"][i]) < TOLERANCE, t
    ours = denoise(np.array([261, 981]), np.zeros_like(residual))
    assert max_difference(ours, reference["unet_per_row"]) < TOLERANCE


def test_interceptors_of_the_caller_apply_inside_denoise(tiny):
    model, params = tiny
    reference = np.load(REFERENCE / "model_tiny.npz")
    residual = np.transpose(reference["residual"], (0, 2, 3, 1))
    seen = set()

    def add(next_fun, args, kwargs, context):
        output = next_fun(*args, **kwargs)
        if context.method_name == "__call__" and isinstance(
            context.module, stable_diffusion.UNET_BLOCKS
        ):
            seen.add(context.module.name)
            if isinstance(context.module, stable_diffusion.FlaxUNetMidBlock2DCrossAttn):
                return output + residual
        return output

    with nn.intercept_methods(add):
        ours = jax.jit(model.denoise)(
            params, reference["latents"], reference["timesteps"][3], reference["text_hidden"][:2]
        )
    assert max_difference(ours, reference["unet_residual"][3]) < TOLERANCE
    blocks = [f"down_blocks_{i}" for i in range(model.num_down_blocks)]
    blocks += [f"up_blocks_{i}" for i in range(model.num_up_blocks)]
    assert seen == {*blocks, "mid_block"}


@pytest.fixture(scope="module")
def tiny_bfloat16():
    return loading.load(TINY_SD, dtype="bfloat16")


def test_bfloat16_parameters_and_dtypes(tiny_bfloat16):
    model, params = tiny_bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(jnp.bfloat16)}
    reference = np.load(REFERENCE / "model_tiny.npz")
    context = jax.jit(model.encode_text)(params, reference["token_ids"])
    assert context.dtype == jnp.bfloat16
    # The network computes in bfloat16 throughout: close, and not suspiciously close.
    assert 1e-4 < np.abs(np.float32(context) - reference["text_hidden"]).max() < 0.2
    latents = jax.eval_shape(model.encode_image, params, reference["images"])
    assert (latents.shape, latents.dtype) == ((2, 4, 8, 8), jnp.float32)
    output = jax.eval_shape(model.denoise, params, latents, 981, context[:2])
    assert (output.shape, output.dtype) == ((2, 4, 8, 8), jnp.float32)


@pytest.mark.slow
def test_bfloat16_unet_is_close_to_pytorch(tiny_bfloat16):
    model, params = tiny_bfloat16
    reference = np.load(REFERENCE / "model_tiny.npz")
    context = reference["text_hidden"][:2]
    output = jax.jit(model.denoise)(params, reference["latents"], 981, context)
    assert 1e-4 < max_difference(output, reference["unet"][4]) < 0.1


def test_float16_is_close_to_pytorch_and_its_vae_is_float32(tiny):
    half, params = loading.load(TINY_SD, dtype="float16")
    kinds = {name: {str(x.dtype) for x in jax.tree.leaves(params[name])} for name in params}
    assert kinds == {"unet": {"float16"}, "vae": {"float32"}, "text_encoder": {"float16"}}
    reference = np.load(REFERENCE / "model_tiny.npz")
    hidden = jax.jit(half.encode_text)(params, reference["token_ids"])
    assert hidden.dtype == jnp.float16
    # Ten bits of mantissa; features up to 4.
    difference = max_difference(hidden.astype(jnp.float32), reference["text_hidden"])
    assert 1e-5 < difference < 2e-2
    model, exact = tiny
    for network, whole in ((half, params), (model, exact)):
        decoded = jax.jit(network.decode_latents_float)(whole, reference["latents"])
        assert max_difference(decoded, reference["decoded"]) < TOLERANCE


def test_numbers_of_the_model(tiny):
    model, _ = tiny
    assert model.vae_scale_factor == 4
    assert model.latent_shape(32) == (4, 8, 8)
    assert (model.num_down_blocks, model.num_up_blocks, model.num_tokens) == (2, 2, 16)
    assert hash(model) == hash(model)
    assert model.scheduler.steps_offset == 1
    assert model.scheduler.prediction_type == "epsilon"
    with pytest.raises(UserError, match="multiple of 8"):
        model.latent_shape(36)


def test_prediction_type_and_head_counts_of_sd2(tiny_sd2):
    model, _ = tiny_sd2
    assert model.scheduler.prediction_type == "v_prediction"
    assert model.unet.attention_head_dim == (1, 2, 4)
    assert model.tokenize([""])[0, -1] == 0  # "!" pads


@pytest.mark.parametrize(
    ("known", "sizes"),
    [
        (SD15, {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480}),
        pytest.param(
            SD21,
            {"unet": 865_910_724, "vae": 83_653_863, "text_encoder": 340_387_840},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_full_size_shapes_without_weights(known, sizes):
    model = stable_diffusion.from_configs(
        unet_config=known.unet,
        vae_config=known.vae,
        text_config=known.text_encoder,
        scheduler_config=known.scheduler,
        dtype="bfloat16",
    )
    shapes = stable_diffusion.abstract_params(model)
    counted = {name: sum(x.size for x in jax.tree.leaves(tree)) for name, tree in shapes.items()}
    assert counted == sizes  # the published parameter counts
    assert model.num_tokens == 77


@pytest.mark.parametrize(
    ("component", "field", "value"),
    [
        ("unet", "class_embed_type", "timestep"),
        ("unet", "dual_cross_attention", True),
        ("unet", "addition_embed_type", "text_time"),
        ("unet", "in_channels", 9),
        ("unet", "out_channels", 8),
        ("unet", "cross_attention_dim", 1024),
        ("unet", "cross_attention_dim", [64, 64]),
        ("unet", "mid_block_type", None),
        ("unet", "norm_num_groups", 24),
        ("unet", "norm_num_groups", None),
        ("unet", "attention_head_dim", [4, 4, 4]),
        ("unet", "transformer_layers_per_block", [[1], [1]]),
        ("unet", "layers_per_block", [1, 0]),
        ("unet", "num_attention_heads", 8),
        ("unet", "only_cross_attention", True),
        ("unet", "time_cond_proj_dim", 256),
        ("unet", "down_block_types", ["AttnDownBlock2D", "DownBlock2D"]),
        ("vae", "act_fn", "gelu"),
        ("vae", "norm_num_groups", 5),
        ("vae", "shift_factor", 0.1159),
        ("vae", "up_block_types", ["AttnUpDecoderBlock2D"] * 3),
        ("text_encoder", "model_type", "t5"),
        ("text_encoder", "hidden_act", "relu"),
        ("scheduler", "thresholding", True),
        ("scheduler", "rescale_betas_zero_snr", True),
        ("scheduler", "beta_schedule", "sigmoid"),
        ("scheduler", "trained_betas", [0.1]),
        ("scheduler", "prediction_type", "sample"),
        ("scheduler", "timestep_spacing", "karras"),
        ("scheduler", "_class_name", "FlowMatchEulerDiscreteScheduler"),
    ],
)
def test_unsupported_settings_are_refused_by_name(checkpoint, component, field, value):
    name = "scheduler_config.json" if component == "scheduler" else "config.json"
    file = checkpoint / component / name
    file.write_text(json.dumps(json.loads(file.read_text()) | {field: value}))
    with pytest.raises(UserError, match=rf"{component}/{name}: {field}=") as caught:
        loading.load(checkpoint)
    shown = "Attn" if field.endswith("block_types") else str(value)
    assert shown in str(caught.value)


def test_unknown_dtype():
    with pytest.raises(UserError, match=r"dtype='float64'.*float32, bfloat16, float16"):
        loading.load(TINY_SD, dtype="float64")


def test_broken_config_file(checkpoint):
    (checkpoint / "vae/config.json").write_text("{")
    with pytest.raises(UserError, match=r"vae/config\.json: cannot be read as JSON"):
        loading.load(checkpoint)


def test_empty_prompt(tiny, checkpoint):
    model, _ = tiny
    model.check_empty_prompt()
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        file = checkpoint / "tokenizer" / name
        content = json.loads(file.read_text())
        file.write_text(json.dumps({k: v for k, v in content.items() if k != "pad_token"}))
    without, _ = loading.load(checkpoint)
    without.tokenizer.pad_token = None
    with pytest.raises(UserError, match=r"no empty prompt, which guidance needs.*pad_token"):
        without.check_empty_prompt()
    with pytest.raises(UserError, match="cannot encode a prompt"):
        without.tokenize(["a photo"])


def test_tokenizer_with_ids_the_text_encoder_lacks(tiny):
    model, _ = tiny
    config = dataclasses.replace(model.text_encoder.config, vocab_size=600)
    small = dataclasses.replace(model, text_encoder=model.text_encoder.clone(config=config))
    with pytest.raises(UserError, match="token id 634, but the text encoder knows only 600"):
        small.tokenize(["dress"])
    with pytest.raises(UserError, match="no empty prompt"):
        small.check_empty_prompt()


def test_damaged_tokenizer(checkpoint):
    (checkpoint / "tokenizer/vocab.json").write_text("not json")
    with pytest.raises(UserError, match="the tokenizer cannot be loaded"):
        loading.load(checkpoint)


def test_import_and_load_are_silent_and_need_neither_torch_nor_diffusers():
    code = (
        "import sys; from dreamda_jax.models.stable_diffusion import loading; "
        f"loading.load({str(TINY_SD)!r}); "
        "assert not {'torch', 'tensorflow', 'diffusers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout + done.stderr == ""

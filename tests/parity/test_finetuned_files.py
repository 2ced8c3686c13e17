"""What a fine-tuning leaves, read by PyTorch diffusers: the checkpoint, LoRA files, new tokens.

Run with `pytest -m parity` in an environment with the extra "parity". Each method trains the
embedded model for two steps, at a rate at which that shows.
"""

import json
import threading
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from configs import fashion
from dreamda_jax.finetune import __main__ as entry
from dreamda_jax.finetune import build
from dreamda_jax.finetune.adaptation import EMBEDDINGS, low_rank, new_tokens
from dreamda_jax.models.stable_diffusion import loading, lora, textual_inversion
from dreamda_jax.models.stable_diffusion.model import StableDiffusion
from dreamda_jax.models.weights.torch_layout import torch_name
from tests.support.make_checkpoint import TINY_SD

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity

RANK = 4
LORA = {"method": "lora", "lora_rank": RANK, "lora_alpha": 10.0, "learning_rate": 1e-2}
TOKENS = {"method": "textual_inversion", "learning_rate": 0.1}
RUNS = {
    "full": {"method": "full", "learning_rate": 1e-3},
    "lora": LORA,
    "one_vector": TOKENS,
    "two_vectors": TOKENS | {"num_vectors": 2},
}
LORA_FILE = "pytorch_lora_weights.safetensors"
# Float32 in both: outputs up to 6, measured 1e-6, and 5e-6 of the text encoder with new tokens.
TOLERANCE = 1e-5
# Of embeddings with learnt tokens: where the encoder's features nearly cancel, it differs from
# itself by 1.4e-5 when its weights are off by half a place of float32.
TEXT_TOLERANCE = 3e-5


def normal(*shape, seed):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


LATENTS, CONTEXT = normal(2, 4, 8, 8, seed=0), normal(2, 16, 64, seed=1)
TARGET = normal(2, 4, 8, 8, seed=2)
TIMESTEPS = np.array([10, 700])


class Finetuned(NamedTuple):
    output: Path
    text_model: StableDiffusion
    tokens: list[list[str]]
    class_prompts: list[str]
    label_names: tuple[str, ...]


@pytest.fixture(scope="module")
def finetuned(tmp_path_factory):
    """`finetuned(name)`: what one of `RUNS` has left, and what it was trained with."""
    directory, done = tmp_path_factory.mktemp("finetuned"), {}

    def finetune(name):
        if name not in done:
            config = fashion.get_config().to_dict()
            config["finetune"] |= {
                "output": str(directory / name),
                "cache": str(directory / "cache"),
                "num_steps": 2,
                "batch_size": 8,
                "warmup_steps": 0,
                "num_samples": 0,
                **RUNS[name],
            }
            assert entry._finetune(config, False, threading.Event()) == 0
            parts = build.finetuning(
                config, num_devices=jax.device_count(), open_networks=build.open_checkpoint
            )
            label_names = parts.source.label_names
            prompts = build.training_prompts(
                config, model=parts.model, vocabulary=parts.vocabulary, label_names=label_names
            )
            done[name] = Finetuned(
                output=parts.output,
                text_model=parts.vocabulary.model,
                tokens=parts.vocabulary.tokens,
                class_prompts=prompts.of_classes,
                label_names=label_names,
            )
        return done[name]

    return finetune


def pipeline_of(directory):
    from diffusers import StableDiffusionPipeline

    return StableDiffusionPipeline.from_pretrained(directory)


@pytest.fixture
def original():
    """The embedded checkpoint as PyTorch diffusers has it, for a test to change."""
    return pipeline_of(TINY_SD)


def torch_unet(pipeline):
    """The U-Net's output for the fixed inputs."""
    inputs = (torch.from_numpy(array) for array in (LATENTS, TIMESTEPS, CONTEXT))
    with torch.no_grad():
        return pipeline.unet(*inputs).sample.numpy()


def typed_prompts(parts):
    """The prompt of each class as a user of diffusers types it.

    Of a token of several vectors only the first is written: the pipeline puts in the others, also
    where they are written already.
    """
    if not parts.tokens:
        return parts.class_prompts
    return [f"a photo of a {own[0]}" for own in parts.tokens]


def torch_text(pipeline, prompts):
    """The text encoder's output, as the pipeline itself computes it for a user's prompts."""
    with torch.no_grad():
        return pipeline.encode_prompt(list(prompts), "cpu", 1, False)[0].numpy()


def our_text(model, params, prompts):
    return np.asarray(jax.jit(model.encode_text)(params, model.tokenize(prompts)))


def difference(ours, theirs):
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype == np.float32
    return np.abs(ours - theirs).max()


@pytest.mark.parametrize("name", RUNS)
def test_pytorch_loads_the_checkpoint_and_computes_what_we_do(finetuned, original, name):
    parts = finetuned(name)
    model, params = loading.load(parts.output)
    pipeline = pipeline_of(parts.output)
    ours = np.asarray(jax.jit(model.denoise)(params, LATENTS, TIMESTEPS, CONTEXT))
    assert difference(ours, torch_unet(pipeline)) < TOLERANCE
    others = ["", "a photo of a dress"]
    typed = [*typed_prompts(parts), *others]
    text = torch_text(pipeline, typed)
    ours = our_text(model, params, [*parts.class_prompts, *others])
    assert difference(ours, text) < TEXT_TOLERANCE

    changed_unet = difference(torch_unet(original), torch_unet(pipeline))
    changed_text = difference(torch_text(original, typed), text)
    if parts.tokens:
        assert changed_unet == 0
        assert changed_text > 0.1
    else:
        assert changed_unet > 1e-2
        assert changed_text == 0


@pytest.mark.parametrize("name", RUNS)
def test_the_pipeline_makes_a_picture(finetuned, name):
    parts = finetuned(name)
    pipeline = pipeline_of(parts.output)
    pipeline.set_progress_bar_config(disable=True)
    made = pipeline(
        typed_prompts(parts)[0],
        num_inference_steps=2,
        generator=torch.Generator().manual_seed(0),
        output_type="np",
    ).images
    assert made.shape == (1, 32, 32, 3)
    assert np.ptp(made) > 0.1


def test_the_lora_file_gives_the_merged_network(finetuned, original):
    output = finetuned("lora").output
    merged = torch_unet(pipeline_of(output))
    assert difference(torch_unet(original), merged) > 1e-2
    original.load_lora_weights(output, weight_name=LORA_FILE)
    assert difference(torch_unet(original), merged) < TOLERANCE
    original.fuse_lora()
    original.unload_lora_weights()
    assert difference(torch_unet(original), merged) < TOLERANCE
    fused = original.unet.state_dict()
    for key, weight in pipeline_of(output).unet.state_dict().items():
        # One rounding of a weight of order 1 each.
        assert (weight - fused[key]).abs().max() < 1e-6, key


def test_a_part_of_the_lora_can_be_taken(finetuned, original):
    """What users do to tone a LoRA down: its scale is that of the update, not of our alpha."""
    parts = finetuned("lora")
    original.load_lora_weights(parts.output, weight_name=LORA_FILE, adapter_name="ours")
    original.set_adapters(["ours"], adapter_weights=[0.5])
    model, params = loading.load("sample")
    adapters = adapters_of(parts.output, params)
    half = {"unet": lora.merge(params["unet"], adapters, scale=0.5)}
    ours = np.asarray(jax.jit(model.denoise)(half, LATENTS, TIMESTEPS, CONTEXT))
    assert difference(ours, torch_unet(original)) < TOLERANCE


def test_a_lora_saved_by_diffusers_has_the_names_and_shapes_of_ours(finetuned, original, tmp_path):
    from diffusers import StableDiffusionPipeline
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    # As examples/text_to_image/train_text_to_image_lora.py does it.
    original.unet.add_adapter(
        LoraConfig(
            r=RANK,
            lora_alpha=RANK,
            init_lora_weights="gaussian",
            target_modules=["to_k", "to_q", "to_v", "to_out.0"],
        )
    )
    StableDiffusionPipeline.save_lora_weights(
        tmp_path,
        unet_lora_layers=convert_state_dict_to_diffusers(get_peft_model_state_dict(original.unet)),
    )
    theirs = load_file(tmp_path / LORA_FILE)
    ours = load_file(finetuned("lora").output / LORA_FILE)
    assert {key: (array.shape, array.dtype) for key, array in ours.items()} == {
        key: (array.shape, array.dtype) for key, array in theirs.items()
    }


@pytest.mark.parametrize("name", ["one_vector", "two_vectors"])
def test_token_files_give_the_written_text_encoder(finetuned, original, name):
    parts = finetuned(name)
    files = sorted((parts.output / "textual_inversion").iterdir())
    assert len(files) == len(parts.label_names)
    for file in files:
        original.load_textual_inversion(file)
    written = pipeline_of(parts.output)
    prompts = typed_prompts(parts)
    for pipeline in (original, written):
        converted = pipeline.maybe_convert_prompt(prompts, pipeline.tokenizer)
        assert converted == parts.class_prompts
    theirs = torch_text(original, prompts)
    assert difference(torch_text(written, prompts), theirs) == 0
    model, params = loading.load(parts.output)
    assert difference(our_text(model, params, parts.class_prompts), theirs) < TEXT_TOLERANCE
    lines = (parts.output / "prompts.jsonl").read_text().splitlines()
    assert [json.loads(line)["prompt"] for line in lines] == parts.class_prompts


def adapters_of(output, params):
    """The adapters in a LoRA file, by our paths; α = r."""
    tensors, found = load_file(output / LORA_FILE), {}
    for path in lora.target_shapes(params["unet"]):
        layer = torch_name((*path.split("/"), "kernel")).removesuffix(".weight")
        down, up = (tensors.pop(f"unet.{layer}.lora.{part}.weight") for part in ("down", "up"))
        found[path] = {"down": down.T, "up": up.T}
    assert not tensors
    return found


def assert_gradients_equal(ours, theirs):
    ours, theirs = np.asarray(ours), theirs.numpy()
    assert ours.shape == theirs.shape
    # Sums in another order: measured 4e-6 of the largest element.
    assert np.abs(ours - theirs).max() < 5e-5 * np.abs(theirs).max()


def test_gradients_of_adapters_equal_those_of_peft(finetuned, original):
    output = finetuned("lora").output
    model, params = loading.load("sample")
    adaptation = low_rank(model, rank=RANK, alpha=RANK, remat=False)

    @jax.jit
    @jax.grad
    def gradients(adapters):
        denoise = adaptation.denoiser(adapters, {"unet": params["unet"]}).denoise
        return jnp.mean(jnp.square(denoise(LATENTS, TIMESTEPS, CONTEXT) - TARGET))

    ours = gradients(adapters_of(output, params))
    original.load_lora_weights(output, weight_name=LORA_FILE)
    original.unet.requires_grad_(True)
    prediction = original.unet(*map(torch.from_numpy, (LATENTS, TIMESTEPS, CONTEXT))).sample
    torch.nn.functional.mse_loss(prediction, torch.from_numpy(TARGET)).backward()
    layers = dict(original.unet.named_modules())
    for path, own in ours.items():
        layer = layers[torch_name((*path.split("/"), "kernel")).removesuffix(".weight")]
        for part, module in (("down", layer.lora_A), ("up", layer.lora_B)):
            (weight,) = module.parameters()
            assert_gradients_equal(own[part], weight.grad.T)


def test_gradients_of_new_tokens_equal_pytorch(finetuned):
    parts = finetuned("two_vectors")
    pipeline = pipeline_of(parts.output)
    prompts = parts.class_prompts[:2]
    ids = parts.text_model.tokenize(prompts)
    _, params = loading.load("sample")
    _, written = loading.load(parts.output)
    known = len(textual_inversion.embedding_table(params["text_encoder"]))
    rows = textual_inversion.embedding_table(written["text_encoder"])[known:]
    adaptation = new_tokens(parts.text_model, start_ids=[[0]] * len(rows), remat=False)

    @jax.jit
    @jax.grad
    def gradients(trained):
        denoiser = adaptation.denoiser(trained, params)
        output = denoiser.denoise(LATENTS, TIMESTEPS, denoiser.encode(ids))
        return jnp.mean(jnp.square(output - TARGET))

    ours = gradients({EMBEDDINGS: rows})[EMBEDDINGS]
    context = pipeline.text_encoder(torch.from_numpy(ids).long())[0]
    inputs = (torch.from_numpy(array) for array in (LATENTS, TIMESTEPS))
    prediction = pipeline.unet(*inputs, context).sample
    torch.nn.functional.mse_loss(prediction, torch.from_numpy(TARGET)).backward()
    theirs = pipeline.text_encoder.get_input_embeddings().weight.grad[known:]
    assert len(theirs) == 2 * len(parts.tokens)
    assert (theirs[:4] != 0).any(dim=1).all()  # the tokens of the two prompts
    assert_gradients_equal(ours, theirs)

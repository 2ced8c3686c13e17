"""Checkpoints and adapters as files: PyTorch's names and layout, and what is copied as it is."""

import errno
import functools
import json
import shutil
from pathlib import Path

import flax.serialization
import flax.traverse_util
import jax
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from transformers import CLIPTokenizer

from dreamda_jax.data.prompts import open_prompts
from dreamda_jax.data.sources import Example
from dreamda_jax.errors import UserError
from dreamda_jax.models.clip.config import with_vocabulary
from dreamda_jax.models.stable_diffusion import (
    adapter_files,
    checkpoint_writer,
    loading,
    lora,
    textual_inversion,
    tokenizer_files,
)
from dreamda_jax.models.stable_diffusion import (
    model as stable_diffusion,
)
from dreamda_jax.models.stable_diffusion.checkpoint_files import find_checkpoint
from dreamda_jax.models.tokenizer import load_tokenizer
from dreamda_jax.models.weights import torch_layout
from dreamda_jax.models.weights.hub import read_json
from dreamda_jax.models.weights.names import canonical
from dreamda_jax.models.weights.torch_layout import torch_shape
from dreamda_jax.plan.known_configs import SD15, SD21
from tests.support.make_checkpoint import TINY_SD

STEMS = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
}
LARGE = {"SD15": SD15, "SD21": SD21}


def flat(params):
    return flax.traverse_util.flatten_dict(params)


def on_host(directory, name):
    """One network's parameters as numpy."""
    files = find_checkpoint(directory)
    model = loading.open_model(files)
    return loading.load_component(model, files, name, dtype=np.float32, place=np.asarray)


def refuse(name):
    raise AssertionError(f"{name} was loaded")


def assert_equal(found, expected):
    assert set(flat(found)) == set(flat(expected))
    for path, array in flat(expected).items():
        np.testing.assert_array_equal(flat(found)[path], array)


@pytest.fixture
def original(micro_checkpoint, tmp_path):
    """A copy of the micro checkpoint that a test may change."""
    return Path(shutil.copytree(micro_checkpoint, tmp_path / "original"))


@pytest.fixture
def output(tmp_path):
    return tmp_path / "output"


def changed_unet(directory):
    """The U-Net's parameters plus noise that no half float holds."""
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: leaf + 1e-3 * rng.standard_normal(leaf.shape, np.float32),
        on_host(directory, "unet"),
    )


def write(output, directory, **options):
    options = {"changed": {}, "load": refuse, **options}
    checkpoint_writer.write_checkpoint(output, find_checkpoint(directory), **options)


def weights_file(directory, name):
    return directory / name / f"{STEMS[name]}.safetensors"


def test_fields_of_the_scheduler_that_were_given_are_written(original, output):
    """A network that was fine-tuned as one of v-prediction is used as one."""
    write(output, original, scheduler={"prediction_type": "v_prediction"})
    before, after = (
        json.loads((directory / "scheduler/scheduler_config.json").read_bytes())
        for directory in (original, output)
    )
    assert after == before | {"prediction_type": "v_prediction"}
    scheduler = loading.open_model(find_checkpoint(output)).scheduler
    assert scheduler.prediction_type == "v_prediction"


def test_a_changed_unet_is_read_back_to_the_bit_and_the_rest_is_copied(original, output):
    unet = changed_unet(original)
    write(output, original, changed={"unet": unet})
    assert_equal(on_host(output, "unet"), unet)
    for name in ("vae", "text_encoder"):
        assert weights_file(output, name).read_bytes() == weights_file(original, name).read_bytes()
    configs = [f"{name}/config.json" for name in STEMS]
    tokenizer = [f"tokenizer/{file.name}" for file in (original / "tokenizer").iterdir()]
    for name in (*configs, "scheduler/scheduler_config.json", *tokenizer):
        assert (output / name).read_bytes() == (original / name).read_bytes()
    stored = load_file(weights_file(output, "unet")).values()
    assert {array.dtype for array in stored} == {np.dtype(np.float32)}
    # Nothing but these files, and no name of a file that was being written.
    files = {path.relative_to(output) for path in output.rglob("*") if path.is_file()}
    assert files == {path.relative_to(original) for path in original.rglob("*") if path.is_file()}


def test_changed_text_encoder_and_tokenizer(original, output):
    model, _ = loading.load(original)
    encoder = on_host(original, "text_encoder")
    rows = np.random.default_rng(0).standard_normal((2, 48), np.float32)
    extended = model.with_vocabulary(
        model.vocabulary + 2,
        textual_inversion.extended_tokenizer(model.tokenizer, ["<bag>", "<boot>"]),
    )
    write(
        output,
        original,
        changed={"text_encoder": textual_inversion.with_rows(encoder, rows)},
        text_config=with_vocabulary(
            read_json(original / "text_encoder/config.json"), model.vocabulary + 2
        ),
        tokenizer=extended.tokenizer,
    )
    read, params = loading.load(output)
    assert read.vocabulary == model.vocabulary + 2
    table = np.asarray(textual_inversion.embedding_table(params["text_encoder"]))
    np.testing.assert_array_equal(table[-2:], rows)
    prompts = ["a <boot> and a <bag>", "a boot"]
    np.testing.assert_array_equal(read.tokenize(prompts), extended.tokenize(prompts))
    assert weights_file(output, "unet").read_bytes() == weights_file(original, "unet").read_bytes()


def to_half(directory, name):
    """Replaces a network's file by one of half floats that has "fp16" in its name."""
    file = weights_file(directory, name)
    half = {key: array.astype(np.float16) for key, array in load_file(file).items()}
    file.unlink()
    variant = file.with_name(f"{STEMS[name]}.fp16.safetensors")
    save_file(half, variant)
    return variant


def test_half_precision_files_lose_the_variant_in_their_name(original, output):
    content = {name: to_half(original, name).read_bytes() for name in STEMS}
    unet = changed_unet(original)
    write(output, original, changed={"unet": unet})
    for name in ("vae", "text_encoder"):
        assert weights_file(output, name).read_bytes() == content[name]
        assert_equal(on_host(output, name), on_host(original, name))
    assert_equal(on_host(output, "unet"), unet)  # float32, so not rounded again
    assert not list(output.glob("*/*fp16*"))


@pytest.mark.parametrize("variant", ["", ".fp16"])
def test_sharded_weights_are_copied_with_their_index(original, output, variant):
    for name in ("vae", "text_encoder"):
        file = weights_file(original, name)
        tensors, weight_map = load_file(file), {}
        file.unlink()
        for i in (1, 2):
            shard = f"{STEMS[name]}{variant}-{i:05d}-of-00002.safetensors"
            part = {key: tensors[key] for key in sorted(tensors)[i - 1 :: 2]}
            save_file(part, file.with_name(shard))
            weight_map |= dict.fromkeys(part, shard)
        index = file.with_name(f"{STEMS[name]}.safetensors.index{variant}.json")
        index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    write(output, original, changed={"unet": changed_unet(original)})
    for name in ("vae", "text_encoder"):
        assert (output / name / f"{STEMS[name]}.safetensors.index.json").is_file()
        assert len(list((output / name).glob("*-of-00002.safetensors"))) == 2
        assert not weights_file(output, name).exists()
        assert_equal(on_host(output, name), on_host(original, name))


def test_flax_files_are_converted(original, output):
    expected = {name: on_host(original, name) for name in STEMS}
    for name in STEMS:
        file = "flax_model" if name == "text_encoder" else "diffusion_flax_model"
        (original / name / f"{file}.msgpack").write_bytes(
            flax.serialization.msgpack_serialize(expected[name])
        )
        weights_file(original, name).unlink()
    unet, loaded = changed_unet(original), []

    def load(name):
        loaded.append(name)
        return on_host(original, name)

    write(output, original, changed={"unet": unet}, load=load)
    assert loaded == ["vae", "text_encoder"]
    for name in ("vae", "text_encoder"):
        assert_equal(on_host(output, name), expected[name])
        assert not list((output / name).glob("*.msgpack"))
        with safe_open(weights_file(output, name), "numpy") as file:
            assert file.metadata() == {"format": "pt"}
    assert_equal(on_host(output, "unet"), unet)


def plant(directory, tmp_path):
    """A tokenizer that brings along templates, code and secrets; returns all files there are."""
    config = directory / "tokenizer" / "tokenizer_config.json"
    content = json.loads(config.read_text())
    content |= {
        "auto_map": {"AutoTokenizer": ["code.Evil", None]},
        "chat_template": {"default": "x", "../../../planted": "their words", "a/b": "more words"},
        "name_or_path": "/home/them",
        "processor_class": "Theirs",
        "extra_special_tokens": {},
    }
    config.write_text(json.dumps(content))
    (tmp_path / "secret").write_text("of the user")
    (directory / "tokenizer" / "notes.txt").symlink_to(tmp_path / "secret")
    (directory / "tokenizer" / "code.py").write_text("import os")
    (directory / "tokenizer" / "chat_template.jinja").write_text("their words")
    return set(tmp_path.rglob("*"))


@pytest.mark.parametrize("with_tokens", [False, True])
def test_nothing_but_what_is_needed_comes_of_a_foreign_tokenizer(
    original, output, tmp_path, with_tokens
):
    before = plant(original, tmp_path)
    model, _ = loading.load(original)
    changes = {}
    if with_tokens:
        extended = textual_inversion.extended_tokenizer(model.tokenizer, ["<bag>"])
        changes["tokenizer"] = extended
    write(output, original, **changes)
    made = {path for path in set(tmp_path.rglob("*")) - before if path.is_file()}
    assert all(path.is_relative_to(output) for path in made)
    written = {path.name: path for path in (output / "tokenizer").iterdir()}
    needed = {"vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"}
    new = {"added_tokens.json", "tokenizer.json"} if with_tokens else set()
    assert set(written) == needed | new
    for name in needed - ({"tokenizer_config.json"} if with_tokens else set()):
        assert written[name].read_bytes() == (original / "tokenizer" / name).read_bytes()
    if with_tokens:
        config = json.loads(written["tokenizer_config.json"].read_text())
        assert not {"auto_map", "chat_template", "name_or_path", "processor_class"} & set(config)
        assert "their words" not in str(config) + written["tokenizer.json"].read_text()
        assert len(CLIPTokenizer.from_pretrained(output / "tokenizer")) == len(model.tokenizer) + 1


PROMPTS = ("A <bag>, a <bag>_1 and a  BOOT!", "<bag><bag>", "", "an é\nand a <|endoftext|> token")


@pytest.mark.parametrize("kind", ["vocabulary", "json", "old"])
def test_a_tokenizer_with_new_tokens_is_read_back_as_it_was(original, tmp_path, kind):
    directory = original / "tokenizer"
    if kind == "json":  # as transformers 5 writes it
        state = load_tokenizer(directory).backend_tokenizer.to_str()
        shutil.rmtree(directory)
        directory.mkdir()
        (directory / "tokenizer.json").write_text(
            state.replace('"normalized":true', '"normalized":false')
        )
        tokens = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>"}
        tokens |= {"unk_token": "<|endoftext|>", "pad_token": "!", "model_max_length": 12}
        (directory / "tokenizer_config.json").write_text(json.dumps(tokens))
    if kind == "old":  # as in Stable Diffusion 1.5, whose tokens are spelt out
        token = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
        old = {"__type": "AddedToken", "content": "<|endoftext|>", **token}
        content = {"bos_token": {**old, "content": "<|startoftext|>"}, "eos_token": old}
        content |= {"unk_token": old, "pad_token": "!", "do_lower_case": True, "errors": "replace"}
        content |= {"add_prefix_space": False, "model_max_length": 16, "name_or_path": "x/y"}
        (directory / "tokenizer_config.json").write_text(json.dumps(content))
    tokenizer = load_tokenizer(directory)
    extended = textual_inversion.extended_tokenizer(tokenizer, ["<bag>", "<bag>_1"])
    again = tmp_path / "again"
    again.mkdir()
    for name, content in tokenizer_files.contents(directory, extended).items():
        data = content if isinstance(content, bytes) else content.read_bytes()
        (again / name).write_bytes(data)
    read = load_tokenizer(again)
    assert type(read) is type(extended)
    for options in ({}, {"padding": "max_length", "max_length": 12, "truncation": True}):
        for text in PROMPTS:
            assert read(text, **options).input_ids == extended(text, **options).input_ids
    assert read.get_vocab() == extended.get_vocab()
    assert read.model_max_length == extended.model_max_length
    for name in ("bos_token", "eos_token", "unk_token", "pad_token"):
        assert str(getattr(read, name)) == str(getattr(extended, name))


def test_files_of_the_hub_s_cache_are_copied_not_linked(original, output, tmp_path):
    files = (weights_file(original, "vae"), original / "tokenizer" / "vocab.json")
    for file in files:
        blob = file.rename(tmp_path / f"blob of {file.name}")
        file.symlink_to(blob)
    write(output, original, changed={"unet": changed_unet(original)})
    for file in files:
        copied = output / file.relative_to(original)
        assert not copied.is_symlink()
        assert copied.read_bytes() == file.read_bytes()


def read_index(directory):
    return json.loads((directory / "model_index.json").read_text())


def test_the_index_keeps_the_classes_and_drops_the_safety_checker(original, output):
    given = read_index(original) | {
        "_class_name": "OtherPipeline",
        "scheduler": ["diffusers", "PNDMScheduler"],
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
        "feature_extractor": ["transformers", "CLIPImageProcessor"],
        "requires_safety_checker": True,
    }
    (original / "model_index.json").write_text(json.dumps(given))
    write(output, original)
    assert read_index(output) == given | {
        "safety_checker": [None, None],
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
    }


@pytest.mark.parametrize("scheduler", ["PNDMScheduler", None])
def test_a_checkpoint_without_index_gets_one(original, output, scheduler):
    (original / "model_index.json").unlink()
    file = original / "scheduler" / "scheduler_config.json"
    config = json.loads(file.read_text())
    config.pop("_class_name", None)
    if scheduler:
        config["_class_name"] = scheduler
    file.write_text(json.dumps(config))
    write(output, original)
    index = read_index(output)
    assert index["_class_name"] == "StableDiffusionPipeline"
    assert index["scheduler"] == ["diffusers", scheduler or "DDIMScheduler"]
    assert index["unet"] == ["diffusers", "UNet2DConditionModel"]
    assert index["vae"] == ["diffusers", "AutoencoderKL"]
    assert index["text_encoder"] == ["transformers", "CLIPTextModel"]
    assert index["tokenizer"] == ["transformers", "CLIPTokenizer"]
    assert index["safety_checker"] == [None, None]


def test_the_index_comes_last_and_a_full_disk_leaves_no_half_files(original, output, monkeypatch):
    copied = []

    def fill_up(source, target):
        if len(copied) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        copied.append(target)
        return copy(source, target)

    copy = shutil.copyfile
    monkeypatch.setattr(shutil, "copyfile", fill_up)
    with pytest.raises(UserError, match=f"No space left in {output}"):
        write(output, original, changed={"unet": changed_unet(original)})
    assert not (output / "model_index.json").exists()
    assert not [path for path in output.rglob("*") if path.name.startswith(".")]


def test_writing_again_replaces_what_was_written(original, output):
    write(output, original, changed={"unet": on_host(original, "unet")})
    (output / "result.json").write_text("{}")
    unet = changed_unet(original)
    write(output, original, changed={"unet": unet})
    assert_equal(on_host(output, "unet"), unet)
    assert (output / "result.json").read_text() == "{}"


@pytest.mark.parametrize("name", STEMS)
def test_names_and_tensors_are_those_that_pytorch_wrote(name):
    """The embedded checkpoint was written by PyTorch diffusers and transformers."""
    written = load_file(weights_file(TINY_SD, name))
    ours = torch_layout.to_torch(flat(on_host(TINY_SD, name)))
    assert set(ours) == {key for key in written if not key.endswith("position_ids")}
    for key, array in ours.items():
        np.testing.assert_array_equal(array, written[key].reshape(array.shape))
        assert array.flags.c_contiguous


@pytest.mark.parametrize("name", STEMS)
@pytest.mark.parametrize("version", LARGE)
def test_every_name_of_the_large_models_leads_back_to_its_parameter(version, name):
    paths = list(flat(large(version)[name]))
    found = [torch_layout.torch_name(path) for path in paths]
    assert len(set(found)) == len(paths) > 100
    # What the loader looks a file's tensors up by.
    assert [canonical(key) for key in found] == [canonical(".".join(path)) for path in paths]
    assert not [key for key in found if "kernel" in key or "scale" in key.split(".")[-1]]


@functools.cache
def large(version):
    configs = LARGE[version]
    model = stable_diffusion.from_configs(
        unet_config=configs.unet,
        vae_config=configs.vae,
        text_config=configs.text_encoder,
        scheduler_config=configs.scheduler,
    )
    return stable_diffusion.abstract_params(model)


@pytest.mark.parity
@pytest.mark.parametrize("version", LARGE)
def test_every_name_and_shape_of_the_large_models_is_pytorch_s(version):
    torch, diffusers = pytest.importorskip("torch"), pytest.importorskip("diffusers")
    transformers, configs = pytest.importorskip("transformers"), LARGE[version]
    with torch.device("meta"):
        modules = {
            "unet": diffusers.UNet2DConditionModel.from_config(dict(configs.unet)),
            "vae": diffusers.AutoencoderKL.from_config(dict(configs.vae)),
            "text_encoder": transformers.CLIPTextModel(
                transformers.CLIPTextConfig(**configs.text_encoder)
            ),
        }
    for name, module in modules.items():
        theirs = {key: tuple(leaf.shape) for key, leaf in module.state_dict().items()}
        ours = {
            torch_layout.torch_name(path): torch_shape(path[-1], leaf.shape)
            for path, leaf in flat(large(version)[name]).items()
        }
        assert ours == theirs


def test_names_of_stable_diffusion_15():
    """As they are in its published files, with the VAE's newer names of its attention."""
    expected = {
        "unet": {
            "conv_in.weight",
            "time_embedding.linear_1.bias",
            "down_blocks.2.attentions.1.transformer_blocks.0.attn2.to_out.0.weight",
            "down_blocks.0.downsamplers.0.conv.weight",
            "mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj.weight",
            "mid_block.attentions.0.transformer_blocks.0.ff.net.2.bias",
            "up_blocks.3.resnets.2.conv_shortcut.weight",
            "up_blocks.1.attentions.0.transformer_blocks.0.norm3.weight",
            "up_blocks.0.upsamplers.0.conv.bias",
            "conv_norm_out.weight",
        },
        "vae": {
            "encoder.down_blocks.1.resnets.0.conv_shortcut.weight",
            "encoder.mid_block.attentions.0.group_norm.weight",
            "decoder.mid_block.attentions.0.to_q.weight",
            "decoder.mid_block.attentions.0.to_out.0.bias",
            "quant_conv.weight",
            "post_quant_conv.bias",
        },
        "text_encoder": {
            "text_model.embeddings.token_embedding.weight",
            "text_model.embeddings.position_embedding.weight",
            "text_model.encoder.layers.11.self_attn.q_proj.weight",
            "text_model.encoder.layers.0.layer_norm1.weight",
            "text_model.encoder.layers.0.mlp.fc2.bias",
            "text_model.final_layer_norm.weight",
        },
    }
    for name, some in expected.items():
        assert some <= {torch_layout.torch_name(path) for path in flat(large("SD15")[name])}


def test_kernels_are_transposed():
    linear = np.arange(6, dtype=np.float32).reshape(2, 3)
    convolution = np.arange(120, dtype=np.float32).reshape(2, 3, 4, 5)
    found = torch_layout.to_torch(
        {
            ("a", "kernel"): linear,
            ("b_0", "conv", "kernel"): convolution,
            ("embeddings", "embedding"): linear,
            ("norm", "scale"): linear[0],
            ("a", "bias"): linear[1],
        }
    )
    np.testing.assert_array_equal(found["a.weight"], linear.T)
    np.testing.assert_array_equal(found["b_0.conv.weight"], convolution.transpose(3, 2, 0, 1))
    np.testing.assert_array_equal(found["embeddings.weight"], linear)
    np.testing.assert_array_equal(found["norm.weight"], linear[0])
    np.testing.assert_array_equal(found["a.bias"], linear[1])
    assert len(found) == 5


RANK, ALPHA = 2, 6.0
LAYER = "down_blocks_0/attentions_0/transformer_blocks_0/attn1/to_out_0"


@pytest.fixture
def adapters():
    """Of two layers, numpy."""
    rng = np.random.default_rng(0)
    return {
        path: {
            "down": rng.standard_normal((5, RANK), np.float32),
            "up": rng.standard_normal((RANK, 3), np.float32),
        }
        for path in (LAYER, "mid_block/attentions_0/transformer_blocks_0/attn2/to_q")
    }


def test_lora_files_hold_the_update_under_the_names_that_diffusers_reads(adapters, tmp_path):
    file = adapter_files.write_lora(tmp_path / "new", adapters, rank=RANK, alpha=ALPHA)
    assert file == tmp_path / "new" / "pytorch_lora_weights.safetensors"
    tensors = load_file(file)
    names = (
        "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0.lora",
        "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_q.lora",
    )
    assert set(tensors) == {f"{name}.{part}.weight" for name in names for part in ("down", "up")}
    for name, adapter in zip(names, adapters.values(), strict=True):
        down, up = tensors[f"{name}.down.weight"], tensors[f"{name}.up.weight"]
        assert (down.shape, up.shape) == ((RANK, 5), (3, RANK))
        assert down.dtype == up.dtype == np.float32
        np.testing.assert_array_equal(down, adapter["down"].T)
        # Without a word of α a reader takes it to be the rank, so "up" holds α/r = 3.
        np.testing.assert_array_equal(up, 3 * adapter["up"].T)
        expected = ALPHA / RANK * adapter["down"].astype(np.float64) @ adapter["up"]
        np.testing.assert_allclose((up @ down).T, expected, rtol=1e-5)  # float32
    with safe_open(file, "numpy") as opened:
        metadata = opened.metadata()
    assert metadata.pop("format") == "pt"
    # As much as says how it was trained, and that a reader's scale of α/r is 1.
    assert json.loads(metadata["trained_with"]) == {
        "rank": RANK,
        "alpha": ALPHA,
        "saved_with_alpha": RANK,
    }


def test_a_lora_file_is_the_update_that_is_merged(original, tmp_path):
    unet = on_host(original, "unet")
    rng = np.random.default_rng(0)
    shapes = lora.target_shapes(unet)
    adapters = {
        path: {
            "down": rng.standard_normal((inputs, RANK), np.float32),
            "up": rng.standard_normal((RANK, outputs), np.float32),
        }
        for path, (inputs, outputs) in shapes.items()
    }
    tensors = load_file(adapter_files.write_lora(tmp_path, adapters, rank=RANK, alpha=ALPHA))
    assert len(tensors) == 2 * len(shapes)
    before = torch_layout.to_torch(flat(unet))
    after = torch_layout.to_torch(flat(lora.merge(unet, adapters, scale=ALPHA / RANK)))
    for name in before:
        layer = f"unet.{name.removesuffix('.weight')}.lora"
        if f"{layer}.up.weight" in tensors:
            update = tensors[f"{layer}.up.weight"] @ tensors[f"{layer}.down.weight"]
            # Sums of numbers up to 30 in float32.
            np.testing.assert_allclose(after[name], before[name] + update, rtol=1e-5, atol=1e-5)
        else:
            np.testing.assert_array_equal(after[name], before[name])


@pytest.mark.parametrize("num_vectors", [1, 3])
def test_token_files_hold_one_token_each(tmp_path, num_vectors):
    tokens = textual_inversion.token_names(("bag", "a/b", "Big cat"), num_vectors=num_vectors)
    rows = np.random.default_rng(0).standard_normal((3 * num_vectors, 7), np.float32)
    files = adapter_files.write_tokens(tmp_path, tokens, rows)
    directory = tmp_path / "textual_inversion"
    assert files == [directory / f"{name}.safetensors" for name in ("bag", "a-b", "Big-cat")]
    assert sorted(directory.iterdir()) == sorted(files)
    for i, (file, own) in enumerate(zip(files, tokens, strict=True)):
        embedding = rows[i * num_vectors : (i + 1) * num_vectors]
        content = load_file(file)
        assert list(content) == [own[0]]
        expected = embedding[0] if num_vectors == 1 else embedding
        assert content[own[0]].dtype == np.float32
        np.testing.assert_array_equal(content[own[0]], expected)


def test_a_file_of_class_prompts_is_read_by_the_prompt_section(tmp_path):
    names, texts = ("bag", "café"), ['a "photo" of a <bag>', "a photo of a <café>\n<café>_1"]
    file = tmp_path / "prompts.jsonl"
    file.write_bytes(adapter_files.class_prompt_lines(names, texts))
    choose = open_prompts(names, file=str(file))
    assert [choose(Example(0, "", label, b""), 0) for label in range(2)] == texts
    assert "café" in file.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="shorter"):
        adapter_files.class_prompt_lines(names, texts[:1])


def test_equal_tensors_and_metadata_are_equal_files(tmp_path):
    tensors = {name: np.ones((3, n), np.float16) for n, name in enumerate("bac", start=1)}
    tensors["odd"] = np.arange(3, dtype=np.float32)
    notes = {"b": 'é "\n\u2028', "a": "{}", "z": "1", "y": "2", "x\t": "\x7f"}
    contents = set()
    for number in range(20):  # the library's own order is drawn anew for each file
        file = tmp_path / f"{number}.safetensors"
        checkpoint_writer.write_tensors(file, tensors, notes)
        contents.add(file.read_bytes())
    assert len(contents) == 1
    with safe_open(file, "numpy") as opened:
        assert opened.metadata() == {"format": "pt", **notes}
    for name, array in load_file(file).items():
        np.testing.assert_array_equal(array, tensors[name])


def test_a_tensor_file_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    file = tmp_path / "new" / "w.safetensors"
    checkpoint_writer.write_tensors(file, {"a": np.ones(3, np.float32)}, {"note": "x"})
    with safe_open(file, "numpy") as opened:
        assert opened.metadata() == {"format": "pt", "note": "x"}

    def fail(tensors, path, metadata):
        path.write_bytes(b"half a fi")
        raise OSError("gone")

    monkeypatch.setattr(checkpoint_writer, "save_file", fail)
    with pytest.raises(OSError, match="gone"):
        checkpoint_writer.write_tensors(file, {"a": np.zeros(3, np.float32)})
    np.testing.assert_array_equal(load_file(file)["a"], np.ones(3))
    assert list(file.parent.iterdir()) == [file]

"""CLIP against PyTorch transformers (tests/reference/make_clip.py made the arrays)."""

import json
import shutil
from pathlib import Path

import huggingface_hub
import jax
import numpy as np
import pytest
import safetensors.numpy

from dreamda_jax.data.sources.sample_source import SampleSource
from dreamda_jax.errors import UserError
from dreamda_jax.models.clip import encoder as clip
from dreamda_jax.models.clip import preprocessing as clip_preprocessing
from dreamda_jax.models.clip.files import find_clip
from tests.reference import make_clip as reference
from tests.support.paths import REFERENCE

ARRAYS = np.load(REFERENCE / "clip.npz")
SHAPES = {name: tuple(shape) for name, shape in json.loads(str(ARRAYS["shapes"])).items()}

# Float32 through two towers, on equal pixels: 6e-7 measured. A LayerNorm epsilon of 1e-6 is 5e-6
# away, tanh GELU instead of the exact one 5e-5, quick_gelu and gelu mixed up 3e-3.
TOLERANCE = 3e-6


@pytest.fixture(scope="module")
def tiny():
    return clip.open_zero_shot("sample", prompts=reference.PROMPTS)


@pytest.fixture(scope="module")
def random_directory(tmp_path_factory):
    """The checkpoint behind the reference's random/… arrays, made anew."""
    total = sum(
        np.abs(reference.random_tensor(name, shape)).sum(dtype=np.float64)
        for name, shape in SHAPES.items()
    )
    np.testing.assert_allclose(total, ARRAYS["weights_sum"], rtol=1e-9)  # numpy's stream changed?
    directory = tmp_path_factory.mktemp("random_clip")
    reference.write_random_clip(directory, SHAPES)
    return directory


@pytest.fixture
def checkpoint(random_directory, tmp_path):
    """A copy that a test may damage."""
    return Path(shutil.copytree(random_directory, tmp_path / "clip"))


def open_clip(path):
    return clip.open_zero_shot(path, prompts=reference.RANDOM_PROMPTS)


def rewrite(file, **changes):
    """Change fields of a JSON file; a None removes the field."""
    content = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def rewrite_text(checkpoint, **changes):
    text = json.loads((checkpoint / "config.json").read_text())["text_config"] | changes
    rewrite(checkpoint / "config.json", text_config=text)


def log_softmax(logits):
    logits = logits.astype(np.float64)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def test_the_tiny_clip_equals_pytorch(tiny):
    found = np.asarray(jax.jit(tiny.classify)(tiny.params, reference.sample_images()))
    assert found.dtype == np.float32
    assert found.shape == (8, 10)
    np.testing.assert_allclose(found, ARRAYS["tiny/probabilities"], atol=TOLERANCE)
    # Relatively, down to the least likely class (1e-6): logits up to 8.4, 3.3e-6 measured.
    np.testing.assert_allclose(np.log(found), log_softmax(ARRAYS["tiny/logits"]), atol=3e-5)


def test_images_are_those_of_the_tests_reference():
    source = SampleSource(split="test")
    images = np.stack([np.asarray(source[i].content) for i in reference.TEST_IMAGES])
    np.testing.assert_array_equal(images, reference.sample_images())
    assert tuple(f"a photo of a {name}" for name in source.label_names) == reference.PROMPTS


def test_preprocessing_equals_pillows(random_directory):
    preprocessing = clip_preprocessing.read_preprocessing(
        find_clip(random_directory), image_size=32
    )
    found = np.asarray(clip_preprocessing.preprocess(reference.random_images(), preprocessing))
    assert found.shape == (4, 32, 32, 3)
    difference = np.abs(found - ARRAYS["random/pixels"]) * preprocessing.std * 255
    # Pillow computes in fixed point, so a value halfway between two grey levels may go either way:
    # one level in 0.02 % of the values measured. All others to float32 (4e-5 of a level).
    assert difference.max() < 1.001
    # Rounding once instead of after each pass: 14 % of the values, up to 11 levels.
    assert np.mean(difference > 1e-3) < 1e-3


def test_a_clip_of_another_kind_equals_pytorch(random_directory):
    # Exact GELU, legacy end token, resized and cropped images, empty and overlong prompts.
    found = open_clip(random_directory)
    probabilities = np.asarray(found.classify(found.params, reference.random_images()))
    expected = ARRAYS["random/probabilities"]
    # 4e-5 measured, from the grey levels above. Where the pixels are equal, that of the networks.
    np.testing.assert_allclose(probabilities, expected, atol=2e-4)
    np.testing.assert_allclose(probabilities[[0, 3]], expected[[0, 3]], atol=TOLERANCE)
    assert np.ptp(probabilities, axis=0).min() > 0.02  # the images matter


def test_the_tiny_clip_recognises_fashion(tiny):
    # 76.7 % of all 5,000 test images, 80.4 % of these 500; PyTorch has 76.5 % of the official
    # 10,000 (sample/README.md).
    source = SampleSource(split="test")
    examples = [source[i] for i in range(0, len(source), 10)]
    images = np.stack([np.asarray(example.content) for example in examples])
    predictions = np.asarray(jax.jit(tiny.classify)(tiny.params, images)).argmax(axis=1)
    assert np.mean(predictions == [example.label for example in examples]) == pytest.approx(
        0.804, abs=0.005
    )


def test_parameters_are_the_image_encoder_alone_and_can_be_placed():
    placed = []

    def place(array):
        placed.append(jax.device_put(array))
        return placed[-1]

    found = clip.open_zero_shot("sample", prompts=reference.PROMPTS[:3], place=place)
    assert set(found.params) == {
        *("vision_model", "visual_projection", "logit_scale", "text_embeddings")
    }
    embeddings = np.asarray(found.params["text_embeddings"])
    assert embeddings.shape == (3, 64)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1.0, atol=1e-6)
    tower = jax.tree.leaves(found.params["vision_model"])
    assert all(any(leaf is array for array in placed) for leaf in tower)
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(found.params))


def test_a_directory_named_sample_wins(checkpoint, monkeypatch):
    checkpoint.rename(checkpoint.parent / "sample")
    monkeypatch.chdir(checkpoint.parent)
    assert find_clip("sample").directory == Path("sample")


def test_without_preprocessor_config_openais_numbers_are_used(checkpoint):
    (checkpoint / "preprocessor_config.json").unlink()
    found = clip_preprocessing.read_preprocessing(find_clip(checkpoint), image_size=32)
    assert found == clip_preprocessing.Preprocessing(
        32, 32, clip_preprocessing.OPENAI_MEAN, clip_preprocessing.OPENAI_STD
    )


@pytest.mark.parametrize(
    ("size", "expected"),
    [(40, 40), ({"shortest_edge": 40}, 40), ({"height": 34, "width": 40}, (34, 40))],
)
def test_sizes_as_old_and_new_files_write_them(checkpoint, size, expected):
    rewrite(checkpoint / "preprocessor_config.json", size=size, crop_size=32)
    found = clip_preprocessing.read_preprocessing(find_clip(checkpoint), image_size=32)
    assert found.size == expected
    images = np.zeros((1, 50, 70, 3), np.uint8)
    assert clip_preprocessing.preprocess(images, found).shape == (1, 32, 32, 3)


def test_no_prompt_is_a_programming_error():
    with pytest.raises(ValueError, match="prompt"):
        clip.open_zero_shot("sample", prompts=[])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / "config.json").unlink(), r"lacks config\.json.*layout"),
        (lambda d: (d / "vocab.json").unlink(), r"lacks vocab\.json"),
        (lambda d: (d / "model.safetensors").unlink(), r"lacks model\.safetensors"),
        (
            lambda d: (d / "model.safetensors").rename(d / "pytorch_model.bin"),
            r"pytorch_model\.bin: pickled weights are refused.*transformers>=5.10.*save_pretrained",
        ),
        (lambda d: rewrite(d / "config.json", model_type="siglip"), "model_type='siglip'"),
        (lambda d: rewrite(d / "config.json", model_type=None), "model_type=None"),
        (lambda d: rewrite_text(d, hidden_act="relu"), r"config\.json: text_config\.hidden_act"),
        (lambda d: rewrite_text(d, num_attention_heads=5), r"config\.json: no CLIP can be built"),
        (lambda d: rewrite_text(d, eos_token_id=600), "ends prompts with token 634.*eos_token_id"),
        (lambda d: rewrite_text(d, vocab_size=99), r"clip: tokenizer/: .*knows only 99 ids"),
        (
            lambda d: rewrite(d / "preprocessor_config.json", resample=2),
            r"preprocessor_config\.json: resample=2 is not supported",
        ),
        (lambda d: rewrite(d / "preprocessor_config.json", crop_size=24), "image_size is 32"),
        (lambda d: rewrite(d / "preprocessor_config.json", size=24), "image_size is 32"),
        (lambda d: rewrite(d / "preprocessor_config.json", image_std="a"), "CLIPImageProcessor"),
        (lambda d: (d / "vocab.json").write_text("{"), "tokenizer cannot be loaded"),
    ],
)
def test_what_is_wrong_with_a_directory_is_said(checkpoint, damage, message):
    damage(checkpoint)
    with pytest.raises(UserError, match=f"(?s){message}") as caught:
        open_clip(checkpoint)
    assert str(checkpoint) in str(caught.value)


def test_every_tensor_is_accounted_for(checkpoint):
    file = checkpoint / "model.safetensors"
    tensors = safetensors.numpy.load_file(file)
    tensors["visual_projection.bias"] = np.zeros(40, np.float32)
    del tensors["text_model.final_layer_norm.weight"]
    safetensors.numpy.save_file(tensors, file)
    with pytest.raises(UserError) as caught:
        open_clip(checkpoint)
    message = str(caught.value)
    assert "1 of 94 tensors are missing: text_model/final_layer_norm/scale" in message
    assert "1 tensors are unexpected: visual_projection.bias" in message


def test_shards_are_one_checkpoint(checkpoint):
    whole = open_clip(checkpoint)
    tensors = safetensors.numpy.load_file(checkpoint / "model.safetensors")
    (checkpoint / "model.safetensors").unlink()
    shards = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(tensors)}
    for shard in set(shards.values()):
        part = {name: tensors[name] for name in tensors if shards[name] == shard}
        safetensors.numpy.save_file(part, checkpoint / shard)
    index = json.dumps({"weight_map": shards})
    (checkpoint / "model.safetensors.index.json").write_text(index)
    jax.tree.map(np.testing.assert_array_equal, open_clip(checkpoint).params, whole.params)


@pytest.mark.parametrize(
    ("part", "found"), [("tiny_sd/text_encoder", "clip_text_model"), ("oracle", "resnet")]
)
def test_other_models_are_refused_by_their_type(part, found):
    with pytest.raises(UserError, match=rf"config\.json: model_type='{found}'.*both"):
        open_clip(reference.SAMPLE / part)


@pytest.mark.parametrize("path", ["absent/dir/deeper", "absent", __file__])
def test_no_such_directory(path):
    with pytest.raises(UserError, match="no such directory"):
        open_clip(path)


def test_a_hub_model_that_is_not_here_says_how_to_bring_it():
    with pytest.raises(UserError, match=r"(?s)cannot be reached.*hf download nobody/no-clip"):
        open_clip("nobody/no-clip")


def test_only_what_is_needed_is_downloaded(random_directory, monkeypatch):
    names = ["pytorch_model.bin", "tf_model.h5", "README.md", "flax_model.msgpack"]
    names += [file.name for file in random_directory.iterdir()]
    asked: dict = {}

    def download(repo_id, *, revision, allow_patterns):
        asked.update(repo_id=repo_id, revision=revision, patterns=set(allow_patterns))
        return str(random_directory)

    monkeypatch.setattr(huggingface_hub, "list_repo_files", lambda repo_id, revision: names)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    files = find_clip("org/clip", revision="v1")
    assert files.weights == random_directory / "model.safetensors"
    assert (asked["repo_id"], asked["revision"]) == ("org/clip", "v1")
    assert {file.name for file in random_directory.iterdir()} <= asked["patterns"]
    assert not asked["patterns"] & {"pytorch_model.bin", "tf_model.h5", "flax_model.msgpack"}

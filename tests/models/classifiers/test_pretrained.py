"""Weights of classifiers: what is loaded, refused, replaced, saved and opened again."""

import json
import os
import shutil

import chex
import huggingface_hub
import huggingface_hub.errors
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import requests
from safetensors.numpy import load_file, save_file

from dreamda_jax.data.files import atomic
from dreamda_jax.data.sources.sample_source import SampleSource
from dreamda_jax.errors import UserError
from dreamda_jax.models.classifiers import mobilenet_v2, swin_v2
from dreamda_jax.models.classifiers.pretrained import load, open_classifier, save
from dreamda_jax.models.classifiers.registry import ARCHITECTURES, find_architecture
from tests.reference import make_classifiers as reference
from tests.support.paths import SAMPLE

ORACLE = SAMPLE / "oracle"


def init_shapes(architecture, num_classes=10, stem="imagenet"):
    module = architecture.build(num_classes, stem=stem)
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    return jax.eval_shape(module.init, jax.random.key(0), images)


def random_variables(shapes, seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape, np.float32), shapes)


def assert_equal_trees(got, want):
    chex.assert_type(jax.tree.leaves(got), np.float32)
    chex.assert_trees_all_equal(got, want)


TINY = find_architecture("resnet_tiny")
SHAPES = init_shapes(TINY)
LABELS = [f"class {number}" for number in range(10)]


def save_tiny(directory, variables=None, **changes):
    """A saved classifier; `changes` replace what it is saved with."""
    variables = random_variables(SHAPES) if variables is None else variables
    settings = {"label_names": LABELS, "image_size": 32, "stem": "imagenet"} | changes
    save(TINY, variables, directory, **settings)
    return variables


@pytest.fixture
def tensors(tmp_path):
    """The state dict of a saved classifier, in PyTorch's layout."""
    save_tiny(tmp_path / "saved")
    return load_file(tmp_path / "saved" / "model.safetensors")


def load_tensors(tmp_path, tensors, variables=SHAPES, architecture=TINY):
    save_file(tensors, tmp_path / "w.safetensors")
    return load(architecture, variables, tmp_path / "w.safetensors")


def test_the_packaged_oracle_is_right_in_nine_of_ten():
    module, variables, config = open_classifier(ORACLE)
    source = SampleSource(split="test")
    assert config.label_names == source.label_names
    assert (config.architecture, config.image_size) == ("resnet_tiny", 32)
    images = np.stack([source[i].content for i in range(len(source))])
    labels = np.array([source[i].label for i in range(len(source))])

    def classify(images):
        normalised = (images / 255 - jnp.array(config.mean)) / jnp.array(config.std)
        return module.apply(variables, normalised).argmax(-1)

    # The tests' quick compilation would make this one slow: 150 s instead of 10.
    classify = jax.jit(classify, compiler_options={"xla_backend_optimization_level": 1})
    predicted = np.concatenate([classify(images[i : i + 1000]) for i in range(0, 5000, 1000)])
    # As many as PyTorch (transformers 4.57.6) finds, in float32 and in float64. There the two
    # largest logits of every image are at least 4.8e-3 apart, far more than rounding moves them.
    assert (predicted == labels).sum() == 4501


@pytest.mark.parametrize("name", [*ARCHITECTURES, "resnet18 small"])
def test_what_is_saved_opens_again(tmp_path, name):
    name, _, stem = name.partition(" ")
    stem = stem or "imagenet"
    architecture = find_architecture(name)
    variables = random_variables(init_shapes(architecture, 3, stem))
    labels = ["cat", "Hund", "zèbre 🦓"]
    save(
        architecture, variables, tmp_path / "a" / "b", label_names=labels, image_size=96, stem=stem
    )
    module, opened, config = open_classifier(tmp_path / "a" / "b", dtype=jnp.bfloat16)
    assert_equal_trees(opened, variables)
    assert (module.num_classes, module.dtype) == (3, jnp.bfloat16)
    assert config.architecture == name
    assert config.stem == stem == getattr(module, "stem", "imagenet")
    assert config.label_names == tuple(labels)
    assert (config.image_size, config.mean, config.std) == (
        96,
        architecture.mean,
        architecture.std,
    )
    assert sorted(file.name for file in (tmp_path / "a" / "b").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]


@pytest.mark.parametrize("case", ["resnet18_small", "resnet50", "mobilenet_v2", "resnet_tiny"])
def test_the_file_has_pytorchs_names_and_layout(tmp_path, case):
    with np.load(f"{reference.HERE}/classifiers_{case}.npz") as file:
        shapes = json.loads(str(file["shapes"]))
    stem = "small" if case.endswith("_small") else "imagenet"
    architecture = find_architecture(case.removesuffix("_small"))
    variables = random_variables(init_shapes(architecture, stem=stem))
    save(architecture, variables, tmp_path, label_names=LABELS, image_size=32, stem=stem)
    tensors = load_file(tmp_path / "model.safetensors")
    assert {name: list(tensor.shape) for name, tensor in tensors.items()} == shapes
    head = variables["params"]["fc" if "resnet" in case else "classifier_1"]["kernel"]
    np.testing.assert_array_equal(tensors[f"{architecture.head}.weight"], head.T)


def test_the_numbers_of_labels_and_outputs_must_agree(tmp_path):
    with pytest.raises(ValueError, match="9 label names for 10 outputs"):
        save_tiny(tmp_path, label_names=LABELS[:9])
    assert not list(tmp_path.iterdir())


def test_a_save_that_dies_leaves_no_labels_beside_other_weights(tmp_path, monkeypatch):
    save_tiny(tmp_path)
    write = atomic.write_atomically

    def die_at_config(path, data):
        if path.name == "config.json":
            raise KeyboardInterrupt
        write(path, data)

    monkeypatch.setattr(atomic, "write_atomically", die_at_config)
    with pytest.raises(KeyboardInterrupt):
        save_tiny(tmp_path, random_variables(SHAPES, seed=1), label_names=LABELS[::-1])
    with pytest.raises(UserError, match=r"not a complete classifier, it lacks config\.json"):
        open_classifier(tmp_path)
    monkeypatch.undo()
    variables = save_tiny(tmp_path, random_variables(SHAPES, seed=1), label_names=LABELS[::-1])
    _, opened, config = open_classifier(tmp_path)
    assert config.label_names == tuple(LABELS[::-1])
    assert_equal_trees(opened, variables)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "resnet34"}, "no classifier architecture 'resnet34'"),
        ({"stem": "huge"}, "no stem 'huge'"),
        ({"label_names": LABELS[:4]}, r"classifier\.1\.weight \(10, 128\) instead of \(4, 128\)"),
        ({"label_names": None}, "not the config of a classifier"),
        ({"image_size": "large"}, "not the config of a classifier"),
    ],
)
def test_configs_that_do_not_fit(tmp_path, change, message):
    save_tiny(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(UserError, match=message):
        open_classifier(tmp_path)


def test_transformers_models_of_another_size(tmp_path):
    shutil.copytree(ORACLE, tmp_path, dirs_exist_ok=True)
    config = json.loads((ORACLE / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"depths": [3, 4, 6, 3]}))
    with pytest.raises(UserError, match=r"only the packaged oracle's .* depths is \[3, 4, 6, 3\]"):
        open_classifier(tmp_path)
    del config["id2label"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="id2label"):
        open_classifier(tmp_path)


def test_a_head_for_other_classes_stays_fresh(tmp_path, tensors):
    fresh = random_variables(init_shapes(TINY, num_classes=7), seed=5)
    loaded = load_tensors(tmp_path, tensors, fresh)
    assert "has 10 classes, this one 7" in loaded.head_replaced
    want = random_variables(SHAPES)
    want["params"]["fc"] = fresh["params"]["fc"]
    assert_equal_trees(loaded.variables, want)
    # Shapes alone have no fresh head to offer.
    with pytest.raises(UserError, match=r"2 tensors have another shape: classifier\.1"):
        load_tensors(tmp_path, tensors, init_shapes(TINY, num_classes=7))


def test_a_file_without_head(tmp_path, tensors):
    body = {name: t for name, t in tensors.items() if not name.startswith("classifier")}
    fresh = random_variables(SHAPES, seed=5)
    loaded = load_tensors(tmp_path, body, fresh)
    assert loaded.head_replaced.startswith("the file has no head")
    assert loaded.variables["params"]["fc"] is not None
    np.testing.assert_array_equal(
        loaded.variables["params"]["fc"]["kernel"], fresh["params"]["fc"]["kernel"]
    )
    half = body | {"classifier.1.bias": tensors["classifier.1.bias"]}
    with pytest.raises(UserError, match=r"1 of 77 tensors are missing: classifier\.1\.weight"):
        load_tensors(tmp_path, half, fresh)


def test_the_same_head_is_loaded(tmp_path, tensors):
    loaded = load_tensors(tmp_path, tensors, random_variables(SHAPES, seed=5))
    assert loaded.head_replaced is None
    assert_equal_trees(loaded.variables, random_variables(SHAPES))


def test_weights_of_another_architecture_or_stem(tmp_path):
    resnet18 = find_architecture("resnet18")
    variables = random_variables(init_shapes(resnet18))
    save(resnet18, variables, tmp_path, label_names=LABELS, image_size=224, stem="imagenet")
    resnet50 = find_architecture("resnet50")
    with pytest.raises(UserError) as caught:
        load(resnet50, init_shapes(resnet50), tmp_path)
    message = str(caught.value)
    assert "not the weights of resnet50" in message
    assert "165 of 267 tensors are missing: " in message
    assert "layer3.0.downsample.1.running_mean (256,) instead of (1024,), " in message
    assert len(message) < 1000  # a few names of each, not all
    with pytest.raises(UserError, match=r"102 tensors are unexpected: bn1\.bias, "):
        load(TINY, SHAPES, tmp_path)
    with pytest.raises(UserError) as caught:
        load(resnet18, init_shapes(resnet18, stem="small"), tmp_path)
    assert str(caught.value).endswith(
        "of resnet18 with stem 'imagenet'. 1 tensors have another shape: conv1.weight "
        "(64, 3, 7, 7) instead of (64, 3, 3, 3)."
    )


def test_buffers_are_ignored_and_half_precision_is_widened(tmp_path, tensors):
    stored = {name: tensor.astype(np.float16) for name, tensor in tensors.items()}
    stored["resnet.embedder.embedder.normalization.num_batches_tracked"] = np.array(3)
    stored["attn.relative_position_index"] = np.zeros((4, 4), np.int64)
    loaded = load_tensors(tmp_path, stored)
    want = jax.tree.map(lambda a: a.astype(np.float16).astype(np.float32), random_variables(SHAPES))
    assert_equal_trees(loaded.variables, want)


def test_nan_and_damage(tmp_path, tensors):
    tensors["classifier.1.bias"][3] = np.nan
    with pytest.raises(UserError, match=r"tensor classifier\.1\.bias holds NaN or Inf"):
        load_tensors(tmp_path, tensors)
    (tmp_path / "w.safetensors").write_bytes(b"no weights")
    with pytest.raises(UserError, match="not a complete safetensors file"):
        load(TINY, SHAPES, tmp_path / "w.safetensors")


def test_every_array_is_placed(tmp_path, tensors):
    save_file(tensors, tmp_path / "model.safetensors")
    device = jax.devices()[1]
    place = lambda array: jax.device_put(array, device)  # noqa: E731
    loaded = load(TINY, SHAPES, tmp_path, place=place)
    assert {d for leaf in jax.tree.leaves(loaded.variables) for d in leaf.devices()} == {device}


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin"])
def test_pickled_weights_are_refused(tmp_path, suffix):
    file = tmp_path / f"pytorch_model{suffix}"
    file.write_bytes(b"\x80\x02")
    for weights in (file, str(file), tmp_path):
        with pytest.raises(UserError, match="pickled weights are refused") as caught:
            load(TINY, SHAPES, weights)
        assert f'torch.load("{file}"' in str(caught.value)
        assert "safetensors.torch.save_file(" in str(caught.value)


def test_weights_that_are_not_there(tmp_path):
    with pytest.raises(UserError, match=r"holds no model\.safetensors"):
        load(TINY, SHAPES, tmp_path)
    for weights in (tmp_path / "a" / "b", "runs/absent.safetensors", "resnet50"):
        with pytest.raises(UserError, match=r"no such file.*or a hub id such as timm/resnet50"):
            load(TINY, SHAPES, weights)


@pytest.mark.parametrize("name", ["w.safetensors", "model.safetensors", "weights"])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    given = tmp_path if name == "model.safetensors" else tmp_path / name
    with pytest.raises(UserError, match=f"{name} is a pipe, where a file is needed"):
        load(TINY, SHAPES, given)


def test_two_names_of_one_parameter_are_refused():
    bias = np.zeros(4, np.float32)
    with pytest.raises(UserError, match=r"conv_stem\.weight and .*0\.weight are names of one"):
        mobilenet_v2.from_timm({"conv_stem.weight": bias, "features.0.0.weight": bias})
    with pytest.raises(UserError, match="are names of one parameter"):
        swin_v2.from_timm({"patch_embed.proj.weight": bias, "features.0.0.weight": bias})
    block = "layers.0.blocks.0.attn."
    parts = {f"{block}q_bias": bias, f"{block}v_bias": bias}
    with pytest.raises(UserError, match=r"qkv\.bias is there, and .*q_bias as well"):
        swin_v2.from_timm(parts | {f"{block}qkv.bias": bias})
    with pytest.raises(UserError, match="v_bias is there, its q_bias is missing"):
        swin_v2.from_timm({f"{block}v_bias": bias})


def test_hub_id(tmp_path, tensors, monkeypatch):
    save_file(tensors, tmp_path / "model.safetensors")
    asked = []

    def download(repo_id, filename, *, revision):
        asked.append((repo_id, filename, revision))
        return str(tmp_path / filename)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    loaded = load(TINY, SHAPES, "org/tiny", revision="v2")
    assert_equal_trees(loaded.variables, random_variables(SHAPES))
    assert asked == [("org/tiny", "model.safetensors", "v2")]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("GatedRepoError", "a licence to be accepted"),
        ("RepositoryNotFoundError", "no such model on the Hugging Face hub"),
        ("RevisionNotFoundError", "no revision 'v2'"),
        ("RemoteEntryNotFoundError", r"has no model\.safetensors"),
        ("LocalEntryNotFoundError", "cannot be reached"),
        ("ConnectionError", "cannot be reached"),
    ],
)
def test_hub_errors(monkeypatch, error, message):
    plain = getattr(huggingface_hub.errors, error.removeprefix("Remote"), ConnectionError)
    kind = getattr(huggingface_hub.errors, error, plain)  # a name that older hubs have not

    def download(repo_id, filename, *, revision):
        if error == "ConnectionError":
            raise kind
        raise kind("nothing", response=requests.Response())

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    with pytest.raises(UserError, match=rf"^org/tiny: .*{message}") as caught:
        load(TINY, SHAPES, "org/tiny", revision="v2")
    if message == "cannot be reached":
        assert "hf download org/tiny model.safetensors --local-dir tiny" in str(caught.value)

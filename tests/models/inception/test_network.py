"""FID's Inception-v3 against torch-fidelity, pytorch-fid and clean-fid (make_inception.py)."""

import hashlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from dreamda_jax.errors import UserError
from dreamda_jax.models.inception.network import InceptionV3, open_inception
from dreamda_jax.models.inception.view import RESIZES, inception_view
from tests.reference import make_inception as reference
from tests.support.paths import REFERENCE

ARRAYS = np.load(REFERENCE / "inception.npz")
SHAPES = {name: tuple(shape) for name, shape in json.loads(str(ARRAYS["shapes"])).items()}

# Float32 through the whole depth, relative to the largest feature: 5e-7 measured, and PyTorch's own
# distance from float64 is 3e-7. What could be mistaken is further away: an epsilon of BatchNorm of
# 0.9e-3 for 1e-3 2e-3, averages that count the padding 5e-2, the maximum for the average in
# Mixed_7b 5e-2, the average for the maximum in Mixed_7c 0.26.
TOLERANCE = 4e-6
# Of grey levels 0..255. Float32 products of exactly computed weights: 5e-5 measured. torch-fidelity
# and Pillow differ from ours in where they round: Pillow sums in float64, and the bilinear formula
# is another of the same value.
VIEW_TOLERANCE = 2e-4


def relative_error(found, expected):
    return np.abs(np.asarray(found) - expected).max() / np.abs(expected).max()


@pytest.fixture(scope="module")
def tensors():
    tensors = {name: reference.random_tensor(name, shape) for name, shape in SHAPES.items()}
    total = sum(np.abs(t).sum(dtype=np.float64) for t in tensors.values())
    np.testing.assert_allclose(total, ARRAYS["weights_sum"], rtol=1e-9)  # numpy's stream changed?
    return tensors


@pytest.fixture(scope="module")
def weights(tensors, tmp_path_factory):
    counter = {"Mixed_5b.branch1x1.bn.num_batches_tracked": np.array(7)}
    file = tmp_path_factory.mktemp("inception") / "inception.safetensors"
    safetensors.numpy.save_file({**tensors, **counter}, file)
    yield file
    file.unlink()  # 95 MB, and pytest keeps the directories of some runs


@pytest.fixture(scope="module")
def clean(weights):
    return open_inception(weights, resize="clean")


@pytest.fixture
def save(tmp_path):
    file = tmp_path / "other.safetensors"

    def write(tensors):
        safetensors.numpy.save_file(tensors, file)
        return file

    yield write
    file.unlink()


def test_features_of_the_clean_view(clean, weights):
    features = jax.jit(clean.features)(clean.variables, reference.images("small"))
    assert features.dtype == jnp.float32
    assert features.shape == (2, clean.num_features) == (2, 2048)
    assert relative_error(features, ARRAYS["features_clean"]) < TOLERANCE
    assert clean.digest == hashlib.sha256(weights.read_bytes()).hexdigest()


def test_features_of_the_legacy_view(tensors, save):
    placed = []

    def place(array):
        placed.append(array.dtype)
        return jax.device_put(array, jax.devices()[1])

    without_head = {name: t for name, t in tensors.items() if not name.startswith("fc.")}
    legacy = open_inception(save(without_head), resize="legacy", place=place)
    assert placed == [np.float32] * len(without_head)
    features = jax.jit(legacy.features)(legacy.variables, reference.images("small"))
    assert features.devices() == {jax.devices()[1]}
    assert relative_error(features, ARRAYS["features_legacy"]) < TOLERANCE


def test_every_part_of_the_network(clean):
    @jax.jit
    def block_means(variables, images):
        _, state = InceptionV3().apply(
            variables,
            inception_view(images, "legacy"),
            capture_intermediates=lambda module, _: module.name in reference.BLOCKS,
            mutable=["intermediates"],
        )
        blocks = state["intermediates"]
        return {name: blocks[name]["__call__"][0].mean((1, 2)) for name in blocks}

    means = block_means(clean.variables, reference.images("small"))
    assert set(means) == set(reference.BLOCKS)
    errors = {name: relative_error(means[name], ARRAYS[f"mean_{name}"]) for name in means}
    assert max(errors.values()) < TOLERANCE, errors


@pytest.mark.parametrize("size", reference.SIZES)
@pytest.mark.parametrize("resize", RESIZES)
def test_the_view_is_that_of_the_reference(resize, size):
    view = jax.jit(inception_view, static_argnums=1)(reference.images(size), resize)
    assert view.shape == (reference.SIZES[size][0], 299, 299, 3)
    assert view.dtype == jnp.float32
    pixels = np.asarray(view) * 128 + 128
    expected = ARRAYS[f"{resize}_{size}"]
    kept = pixels[:, reference.KEPT][:, :, reference.KEPT]
    np.testing.assert_allclose(kept, expected, rtol=0, atol=VIEW_TOLERANCE)
    assert pixels.min() >= 0
    assert pixels.max() <= 255


@pytest.mark.parametrize("resize", RESIZES)
def test_a_single_pixel_fills_the_view(resize):
    view = inception_view(np.full((1, 1, 1, 3), 64, np.uint8), resize)
    np.testing.assert_allclose(view, np.full((1, 299, 299, 3), -0.5))


def test_no_file_says_how_to_get_one(tmp_path):
    with pytest.raises(UserError) as caught:
        open_inception(tmp_path / "none.safetensors", resize="clean")
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'none.safetensors'}: no such file.")
    for part in (
        "Download pt_inception-2015-12-05-6726825d.pth",
        "mseitzer/pytorch-fid",
        "toshas/torch-fidelity",
        'torch.load("pt_inception-2015-12-05-6726825d.pth", map_location="cpu"',
        "safetensors.torch.save_file(",
        "--config.evaluate.extractor=clip",
    ):
        assert part in message


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".ckpt"])
def test_pickled_weights_are_refused(tmp_path, suffix):
    file = tmp_path / f"inception{suffix}"
    file.write_bytes(b"\x80\x02")
    with pytest.raises(UserError, match="pickled weights are refused") as caught:
        open_inception(file, resize="clean")
    assert f'torch.load("{file}", map_location="cpu", weights_only=True)' in str(caught.value)
    assert "--config.evaluate.extractor=clip" in str(caught.value)


@pytest.mark.parametrize(
    "tensors",
    [
        {"AuxLogits.conv0.conv.weight": np.zeros((128, 768, 1, 1), np.float32)},
        {"fc.weight": np.zeros((1000, 2048), np.float32)},
    ],
    ids=["auxiliary", "classes"],
)
def test_torchvisions_network_is_named(save, tensors):
    with pytest.raises(UserError, match=r"torchvision.*1008 classes.*Download pt_inception"):
        open_inception(save(tensors), resize="clean")


def test_all_that_does_not_fit_is_listed(tensors, save):
    wrong = dict(tensors)
    del wrong["Mixed_7c.branch_pool.bn.running_var"]
    wrong["Mixed_7d.branch_pool.bn.bias"] = np.zeros(3, np.float32)
    wrong["Conv2d_1a_3x3.conv.weight"] = np.zeros((32, 1, 3, 3), np.float32)
    wrong["fc.bias"] = np.zeros(10, np.float32)
    with pytest.raises(UserError) as caught:
        open_inception(save(wrong), resize="clean")
    message = str(caught.value)
    for part in (
        "not the weights of FID's Inception-v3",
        "1 of 470 tensors are missing: Mixed_7c.branch_pool.bn.running_var;",
        "1 tensors are unexpected: Mixed_7d.branch_pool.bn.bias;",
        "Conv2d_1a_3x3.conv.weight (32, 1, 3, 3) instead of (32, 3, 3, 3)",
        "fc.bias (10,) instead of (1008,)",
        "Download pt_inception",
    ):
        assert part in message


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(tensors, save, value):
    name = "Conv2d_2a_3x3.bn.running_mean"
    wrong = {**tensors, name: np.append(tensors[name][:-1], np.float32(value))}
    with pytest.raises(UserError, match=f"{name} holds NaN or Inf"):
        open_inception(save(wrong), resize="clean")


def test_an_unknown_resize_is_refused(weights):
    with pytest.raises(ValueError, match="clean, legacy"):
        open_inception(weights, resize="bicubic")

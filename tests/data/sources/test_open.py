import io
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
import skimage.data
from PIL import Image

from dreamda_jax.data.loader import load_seeds
from dreamda_jax.data.sources import Example, Spread, open_source, overridden, sample_source
from dreamda_jax.data.transforms import decode_image
from dreamda_jax.errors import UserError
from tests.support.make_tfds import edit_info, write_tfds_set

CAT, ASTRONAUT = skimage.data.chelsea(), skimage.data.astronaut()
COFFEE, ROCKET = skimage.data.coffee(), skimage.data.rocket()


def test_spread_takes_from_every_class_of_a_sorted_set():
    whole = open_source("sample", split="train")
    some = Spread(whole, 20)
    examples = [some[i] for i in range(len(some))]
    assert [e.index for e in examples] == list(range(20))
    assert [e.label for e in examples] == [label for label in range(10) for _ in range(2)]
    assert examples[3].name == whole[30].name
    assert some.fingerprint() != whole.fingerprint()
    with pytest.raises(IndexError):
        some[20]


def assert_refused(kind, *words, **options):
    with pytest.raises(UserError) as error:
        open_source(kind, **options)
    message = str(error.value)
    for word in words:
        assert str(word) in message, message
    return message


def test_unknown_kind_and_option():
    assert_refused("tdfs", "'tfds'", "folder")
    assert_refused("sample", "'split'", "did you mean", splt="train")
    assert_refused("folder", "path", "label_pattern", image_size=3)
    assert_refused("folder", "needs", "'path'")


def test_reading_a_folder_imports_nothing_heavy(tmp_path):
    (tmp_path / "a").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "a" / "1.png")
    code = (
        "import sys\n"
        "from dreamda_jax.data.sources import open_source\n"
        "from dreamda_jax.data.transforms import decode_image\n"
        f"source = open_source('folder', path={str(tmp_path)!r})\n"
        "decode_image(source[0].content, resolution=8, crop='center')\n"
        "heavy = {'jax', 'tensorflow_datasets', 'tensorflow', 'grain'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# The packaged sample.


@pytest.mark.parametrize(("split", "count"), [("train", 200), ("validation", 1000), ("test", 5000)])
def test_sample(split, count):
    source = open_source("sample", split=split)
    assert len(source) == count
    assert source.name == "fashion20"
    assert source.label_names[0] == "t-shirt"
    assert source.label_names[9] == "ankle boot"
    labels = [source[i].label for i in range(count)]
    assert np.bincount(labels).tolist() == [count // 10] * 10
    example = source[7]
    assert example.index == 7
    assert example.content.shape == (32, 32, 3)
    assert example.content.dtype == np.uint8
    assert example.content[:2].max() == example.content[-2:].max() == 0
    assert (example.content == example.content[:, :, :1]).all()
    passed = decode_image(example.content, resolution=32, crop="center").pixels
    np.testing.assert_array_equal(passed, example.content)


def test_sample_centre_is_the_original():
    original = np.load("dreamda_jax/sample/fashion20.npz")["train_images"][3]
    content = open_source("sample")[3].content
    np.testing.assert_array_equal(content[2:30, 2:30, 1], original)


def test_sample_pickles_small_and_knows_its_place():
    source = open_source("sample")
    data = pickle.dumps(source)
    assert len(data) < 1000
    again = pickle.loads(data)
    np.testing.assert_array_equal(again[5].content, source[5].content)
    assert again.fingerprint() == source.fingerprint()
    assert source.fingerprint() != open_source("sample", split="test").fingerprint()
    assert source[np.int64(3)].index == 3
    for bad in (200, -1):
        with pytest.raises(IndexError):
            source[bad]


def test_sample_splits_that_do_not_work(monkeypatch, tmp_path):
    assert_refused("sample", "unlabeled", "no labels", "train", split="unlabeled")
    assert_refused("sample", "'all'", "train, validation, test", split="all")
    (tmp_path / "sample").mkdir()
    (tmp_path / "sample" / "fashion20.npz").write_text("version https://git-lfs.github.com/spec/v1")
    monkeypatch.setattr(sample_source.importlib.resources, "files", lambda package: tmp_path)
    assert_refused("sample", "fashion20.npz", "reinstall")


# TensorFlow Datasets.

LABELS = ["Abyssinian", "american_bulldog", "beagle"]


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    """A data_dir that holds oxford_iiit_pet with real photos, in two splits."""
    data_dir = tmp_path_factory.mktemp("tfds")
    directory = data_dir / "oxford_iiit_pet" / "4.0.0"
    images = [CAT, COFFEE, ROCKET, ASTRONAUT]
    write_tfds_set(directory, "oxford_iiit_pet", "train", images, [0, 1, 2, 1], LABELS)
    write_tfds_set(directory, "oxford_iiit_pet", "test", [CAT], [0], LABELS)
    write_tfds_set(directory, "oxford_iiit_pet", "unlabelled", [CAT], [-1], LABELS)
    return data_dir


def test_tfds_by_name(pets):
    source = open_source("tfds", name="oxford_iiit_pet", split="train", data_dir=pets)
    assert len(source) == 4
    assert source.name == "oxford_iiit_pet"
    assert source.label_names == tuple(LABELS)
    assert [e.label for e in source] == [0, 1, 2, 1]
    assert [e.index for e in source] == [0, 1, 2, 3]
    assert isinstance(source[0].content, bytes)
    assert "Abyssinian_0.jpg" in source[0].name
    decoded = decode_image(source[0].content, resolution=300, crop="squash")
    assert (decoded.width, decoded.height) == (451, 300)
    direct = decode_image(CAT, resolution=300, crop="squash").pixels
    assert np.abs(decoded.pixels.astype(int) - direct).mean() < 6
    for bad in (4, -1):
        with pytest.raises(IndexError):
            source[bad]
    assert "tensorflow" not in sys.modules


def test_tfds_through_the_loader(pets):
    source = pickle.loads(pickle.dumps(open_source("tfds", name="oxford_iiit_pet", data_dir=pets)))
    order = [3, 1, 2, 0] * 10
    seeds = list(load_seeds(source, order, resolution=64, crop="center", num_threads=8))
    assert [seed.index for seed in seeds] == order
    assert all(seed.error is None for seed in seeds)


def test_tfds_directory_itself(pets):
    directory = pets / "oxford_iiit_pet" / "4.0.0"
    assert len(open_source("tfds", data_dir=directory)) == 4
    assert len(open_source("tfds", name="oxford_iiit_pet", data_dir=str(directory))) == 4
    assert_refused("tfds", "'oxford_iiit_pet'", "not 'cars196'", name="cars196", data_dir=directory)
    assert len(open_source("tfds", name="oxford_iiit_pet:4.0.0", data_dir=pets)) == 4


def test_tfds_slices_fingerprint_and_pickling(pets):
    directory = pets / "oxford_iiit_pet" / "4.0.0"
    whole = open_source("tfds", data_dir=directory)
    part = open_source("tfds", data_dir=directory, split="train[1:3]+test")
    assert [e.label for e in part] == [1, 2, 0]
    again = pickle.loads(pickle.dumps(part))
    assert again[1] == part[1]
    assert again.fingerprint() == part.fingerprint() != whole.fingerprint()
    assert len(whole.fingerprint()) == 64


def test_tfds_fingerprint_sees_other_content(tmp_path):
    for name, labels in (("one", [0, 1]), ("two", [1, 0])):
        write_tfds_set(tmp_path / name, "own", "train", [CAT, CAT], labels, ["x", "y"])
    prints = {open_source("tfds", data_dir=tmp_path / n).fingerprint() for n in ("one", "two")}
    assert len(prints) == 2


def test_tfds_unknown_name(tmp_path):
    assert_refused("tfds", "'oxford_iit_pet'", "'oxford_iiit_pet'", name="oxford_iit_pet")
    assert_refused("tfds", "did you mean", "'oxford_iiit_pet'", name="pets", data_dir=tmp_path)
    assert_refused("tfds", "cannot open", name="../x", data_dir=tmp_path)
    assert_refused("tfds", "cannot open", "nope", name="imagenet_resized/nope", data_dir=tmp_path)
    assert_refused("tfds", "community", name="huggingface:foo", data_dir=tmp_path)
    assert_refused("tfds", "Set the name")
    assert_refused("tfds", "dataset_info.json", tmp_path, data_dir=tmp_path)


def test_tfds_not_prepared(tmp_path):
    message = assert_refused("tfds", "not prepared", name="oxford_iiit_pet", data_dir=tmp_path)
    assert "pip install 'dreamda-jax[prepare]'" in message
    command = f"tfds build oxford_iiit_pet --file_format=array_record --data_dir={tmp_path}"
    assert command in message
    assert "download_and_prepare()" in message
    directory = tmp_path / "oxford_iiit_pet" / "3.2.0"
    write_tfds_set(directory, "oxford_iiit_pet", "train", [CAT], [0], LABELS, version="3.2.0")
    assert_refused("tfds", "'oxford_iiit_pet:3.2.0'", name="oxford_iiit_pet", data_dir=tmp_path)
    assert len(open_source("tfds", name="oxford_iiit_pet:3.2.0", data_dir=tmp_path)) == 1
    assert_refused("tfds", "9.9.9", name="oxford_iiit_pet:9.9.9", data_dir=tmp_path)


def test_tfds_unknown_split(pets):
    options = {"name": "oxford_iiit_pet", "data_dir": pets}
    assert_refused(
        "tfds", "'trian'", "did you mean 'train'", "test", "unlabelled", split="trian", **options
    )
    assert_refused("tfds", "train", "test", split="", **options)
    assert_refused("tfds", "split", split="train[:", **options)
    assert_refused("tfds", "split", split="train[:0]", **options)
    assert_refused("tfds", "not labelled", "-1", split="unlabelled", **options)


def test_tfds_without_random_access(tmp_path):
    write_tfds_set(tmp_path, "own", "train", [CAT], [0], ["x"])
    edit_info(tmp_path, fileFormat="tfrecord")
    message = assert_refused("tfds", "tfrecord", "random access", data_dir=tmp_path)
    assert f"tfds convert_format --dataset_dir={tmp_path} --out_file_format=array_record" in message
    edit_info(tmp_path, fileFormat=None)  # TFDS's default is tfrecord
    assert_refused("tfds", "random access", data_dir=tmp_path)


def test_tfds_features(tmp_path):
    write_tfds_set(tmp_path, "own", "train", [CAT, CAT], [0, 1], ["x", "y"])
    by_species = open_source("tfds", data_dir=tmp_path, label_key="species")
    assert by_species.label_names == ("Cat", "Dog")
    by_mask = open_source("tfds", data_dir=tmp_path, image_key="segmentation_mask")
    assert Image.open(io.BytesIO(by_mask[0].content)).size == (8, 8)
    assert_refused(
        "tfds", "'kind'", "label_key", "species (ClassLabel)", data_dir=tmp_path, label_key="kind"
    )
    path = tmp_path / "features.json"
    features = json.loads(path.read_text())
    parts = features["featuresDict"]["features"]
    without_labels = {k: v for k, v in parts.items() if k not in ("label", "species")}
    path.write_text(json.dumps({**features, "featuresDict": {"features": without_labels}}))
    assert_refused("tfds", "no ClassLabel feature", "image (Image)", data_dir=tmp_path)
    without_images = {k: parts[k] for k in ("label", "file_name")}
    path.write_text(json.dumps({**features, "featuresDict": {"features": without_images}}))
    assert_refused("tfds", "no Image feature", "label (ClassLabel)", data_dir=tmp_path)


def test_tfds_damaged(tmp_path):
    write_tfds_set(tmp_path, "own", "train", [CAT, ASTRONAUT, COFFEE], [0, 1, 0], ["x", "y"])
    file = tmp_path / "own-train.array_record-00000-of-00001"
    content = file.read_bytes()
    for cut in (len(content) // 2, 100, 0):
        file.write_bytes(content[:cut])
        assert_refused("tfds", tmp_path, "damaged", "again", data_dir=tmp_path)
    file.unlink()
    assert_refused("tfds", tmp_path, "again", data_dir=tmp_path)
    (tmp_path / "features.json").unlink()
    assert_refused("tfds", tmp_path, "features.json", data_dir=tmp_path)
    (tmp_path / "dataset_info.json").write_text("{")
    assert_refused("tfds", tmp_path, "dataset_info.json", data_dir=tmp_path)


def test_tfds_damaged_record_in_the_middle(tmp_path):
    write_tfds_set(tmp_path, "own", "train", [CAT] * 3, [0, 1, 0], ["x", "y"])
    source = open_source("tfds", data_dir=tmp_path)
    file = tmp_path / "own-train.array_record-00000-of-00001"
    content = bytearray(file.read_bytes())
    for i in range(20_000, len(content) - 70_000, 97):
        content[i] ^= 0xFF
    file.write_bytes(content)
    source = pickle.loads(pickle.dumps(source))
    with pytest.raises(UserError, match="damaged"):
        [source[i] for i in range(3)]


def test_tfds_colliding_names(tmp_path):
    write_tfds_set(tmp_path, "own", "train", [CAT], [0], ["a b", "a_b"])
    assert_refused("tfds", "'a b'", "'a_b'", data_dir=tmp_path)


def test_options_of_another_set_over_those_of_the_source():
    source = {"kind": "tfds", "name": "pets", "split": "train", "data_dir": None}
    nothing = {"kind": None, "path": "", "split": None}
    assert overridden(source, nothing) == {}
    assert overridden(source, {**nothing, "split": "test"}) == {**source, "split": "test"}
    # A preset split of a sample or TFDS set does not follow to a folder.
    folder = {"kind": "folder", "path": "images", "split": "unlabelled", "name": "x"}
    assert overridden(source, folder) == {"kind": "folder", "path": "images"}
    assert overridden(source, {"kind": "sample", "split": "test"}) == {
        "kind": "sample",
        "split": "test",
    }


def of_sizes(*sizes):
    """A set in memory with classes of these sizes, sorted by class."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    names = tuple(f"class {number}" for number in range(len(sizes)))

    class Sized:
        name, label_names = "sized", names
        ignored = ()

        def __init__(self):
            self.labels = labels

        def __len__(self):
            return len(labels)

        def __getitem__(self, index):
            return Example(index, str(index), int(labels[index]), np.zeros((1, 1, 3), np.uint8))

        def fingerprint(self):
            return "sized"

    return Sized()


@pytest.mark.parametrize("sizes", [(400, 1, 2), (1, 1, 1000), (5, 0, 95), (3, 3, 3, 3)])
@pytest.mark.parametrize("count", [4, 10])
def test_every_class_appears_among_a_few(sizes, count):
    some = Spread(of_sizes(*sizes), min(count, sum(sizes)))
    counts = np.bincount([example.label for example in some], minlength=len(sizes))
    assert counts.sum() == min(count, sum(sizes))
    assert all(counts[label] >= 1 for label, size in enumerate(sizes) if size)
    assert all(counts <= np.array(sizes))
    assert [example.index for example in some] == list(range(len(some)))
    assert list(some.labels) == [example.label for example in some]


def test_where_all_appear_anyway_the_choice_is_what_it_was():
    whole = of_sizes(20, 20, 20)
    some = Spread(whole, 6)
    assert [int(example.name) for example in some] == [0, 10, 20, 30, 40, 50]
    assert some.fingerprint() == "sized/6"
    assert Spread(of_sizes(400, 1, 2), 10).fingerprint() == "sized/10 by class"
    few = Spread(of_sizes(400, 1, 2), 2)  # fewer than classes: as before
    assert few.fingerprint() == "sized/2"

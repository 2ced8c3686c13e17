import os
import pickle
import shutil

import numpy as np
import pytest
import skimage.data
from PIL import Image

from dreamda_jax.data.sources import open_source
from dreamda_jax.data.sources.subset import Subset
from dreamda_jax.data.sources.unlabelled import open_unlabelled, refuse_test_images
from dreamda_jax.data.training_stream import training_batches
from dreamda_jax.errors import UserError
from tests.support.make_tfds import edit_info, write_tfds_set

CAT, ASTRONAUT, COFFEE = (
    np.array(Image.fromarray(photo).resize((48, 48)))
    for photo in (skimage.data.chelsea(), skimage.data.astronaut(), skimage.data.coffee())
)
NAMES = ("left", "right")


def assert_refused(*words, **section):
    with pytest.raises(UserError) as error:
        open_unlabelled(NAMES, **section)
    for word in words:
        assert str(word) in str(error.value), error.value


def assert_unlabelled(source, count):
    """What every kind promises."""
    assert len(source) == count
    assert source.label_names == NAMES
    assert {source[i].label for i in range(count)} == {0}
    assert [source[i].index for i in range(count)] == list(range(count))
    with pytest.raises(IndexError):
        source[count]
    again = pickle.loads(pickle.dumps(source))
    assert again.fingerprint() == source.fingerprint()
    assert again[count - 1].name == source[count - 1].name


def test_kinds_and_options():
    assert_refused("'folders'", "did you mean 'folder'", "sample, folder, tfds", kind="folders")
    assert_refused("'splt'", "did you mean 'split'", "Their options: split", kind="sample", splt=1)
    assert_refused("not set", "path", kind="folder")
    assert_refused("not set", "path", kind="folder", path="")


# The packaged sample.


def test_the_unlabelled_images_of_the_sample():
    source = open_unlabelled(NAMES, kind="sample")
    assert_unlabelled(source, 2000)
    original = np.load("dreamda_jax/sample/fashion20.npz")["unlabeled_images"][1999]
    np.testing.assert_array_equal(np.asarray(source[1999].content)[2:30, 2:30, 1], original)
    named = open_unlabelled(NAMES, kind="sample", split="unlabeled")
    assert named.fingerprint() == source.fingerprint()
    assert open_unlabelled(("a",), kind="sample").fingerprint() != source.fingerprint()
    assert_refused("'all'", "unlabeled, train", kind="sample", split="all")
    with pytest.raises(UserError, match="no labels"):
        open_source("sample", split="unlabeled")


def test_labels_that_are_there_are_not_used():
    source = open_unlabelled(NAMES, kind="sample", split="train")
    assert_unlabelled(source, 200)
    assert open_source("sample")[199].label == 9


def test_they_stand_in_a_training_stream():
    real = open_source("sample")
    source = open_unlabelled(real.label_names, kind="sample")
    numbers = {"batch_size": 8, "seed": 0, "start_step": 3, "num_steps": 4, "resolution": 32}
    (batch,) = training_batches(source, real, synthetic_ratio=0.5, crop="center", **numbers)
    assert (batch.labels[~batch.synthetic] == 0).all()
    for index, image in zip(
        batch.index[~batch.synthetic], batch.images[~batch.synthetic], strict=True
    ):
        np.testing.assert_array_equal(image, source[index].content)


# Any folder.


@pytest.fixture
def pictures(tmp_path):
    """Real photos, flat and nested, without any structure of classes."""
    root = tmp_path / "pictures"
    (root / "train" / "deep" / "er").mkdir(parents=True)
    (root / ".hidden").mkdir()
    Image.fromarray(CAT).save(root / "cat.JPG", "jpeg")
    Image.fromarray(COFFEE).save(root / "train" / "coffee.png")
    Image.fromarray(ASTRONAUT).save(root / "train" / "deep" / "er" / "astronaut.webp")
    Image.fromarray(CAT).save(root / ".hidden" / "cat.png")
    (root / "metadata.csv").write_text("file_name,label\ncat.JPG,2\nnone.png,3\n")
    return root


def test_any_folder_of_images(pictures):
    # A section may inherit from the labelled set's what is about labels.
    source = open_unlabelled(
        NAMES, kind="folder", path=pictures, label_pattern="(", label_names={"0": "x"}
    )
    assert_unlabelled(source, 3)
    names = [source[i].name for i in range(3)]
    assert names == ["cat.JPG", "train/coffee.png", "train/deep/er/astronaut.webp"]
    assert getattr(source, "ignored", None) == ("metadata.csv",)
    assert source.name == "pictures"
    assert source[1].content == pictures / "train" / "coffee.png"
    before = source.fingerprint()
    (pictures / "train" / "deep" / "er" / "astronaut.webp").rename(pictures / "a.webp")
    assert open_unlabelled(NAMES, kind="folder", path=pictures).fingerprint() != before
    assert open_source("folder", path=pictures)[1].name == "none.png"  # by its metadata


def test_folders_that_do_not_work(tmp_path):
    assert_refused("No images in", tmp_path, "webp", kind="folder", path=tmp_path)
    (tmp_path / "notes.txt").touch()
    assert_refused("only 'notes.txt'", kind="folder", path=tmp_path)
    absent = tmp_path / "absent"
    assert_refused("cannot be opened", absent, "nearest folder", kind="folder", path=absent)
    assert_refused("not a directory", kind="folder", path=tmp_path / "notes.txt")
    assert_refused("not a valid path", kind="folder", path="a\0b")


# TensorFlow Datasets.


@pytest.fixture(scope="module")
def stl(tmp_path_factory):
    """A set like STL-10: its unlabelled split has the label -1."""
    data_dir = tmp_path_factory.mktemp("tfds")
    directory = data_dir / "stl10" / "1.0.0"
    photos = [CAT, COFFEE, ASTRONAUT]
    write_tfds_set(directory, "stl10", "test", photos[:2], [1, 0], NAMES, version="1.0.0")
    write_tfds_set(directory, "stl10", "unlabelled", photos, [-1] * 3, NAMES, version="1.0.0")
    return data_dir


def test_tfds_with_the_label_minus_one(stl):
    with pytest.raises(UserError, match="not labelled"):
        open_source("tfds", name="stl10", split="unlabelled", data_dir=stl)
    source = open_unlabelled(NAMES, kind="tfds", name="stl10", split="unlabelled", data_dir=stl)
    assert_unlabelled(source, 3)
    assert (source.name, source[2].name) == ("stl10", "stl10/unlabelled/2")
    assert isinstance(source[0].content, bytes)
    numbers = {"batch_size": 3, "seed": 0, "start_step": 0, "num_steps": 1, "resolution": 48}
    (batch,) = training_batches(source, None, synthetic_ratio=None, crop="center", **numbers)
    for index, photo in enumerate([CAT, COFFEE, ASTRONAUT]):
        image = batch.images[batch.index.tolist().index(index)]
        # JPEG's loss; other photos are 50 and more apart.
        assert np.abs(image.astype(int) - photo).mean() < 10


def test_tfds_with_labels_that_are_not_used(stl):
    section = {"kind": "tfds", "name": "stl10", "data_dir": stl}
    source = open_unlabelled(NAMES, split="test", label_key="none", **section)
    assert_unlabelled(source, 2)
    part = open_unlabelled(NAMES, split="test[:1]+unlabelled", **section)
    assert_unlabelled(part, 4)
    assert part.fingerprint() != source.fingerprint()
    masks = open_unlabelled(NAMES, split="test", image_key="segmentation_mask", **section)
    assert masks[0].content != source[0].content


def test_tfds_that_does_not_work(stl, tmp_path):
    section = {"kind": "tfds", "name": "stl10", "data_dir": stl}
    assert_refused("'unlabeled'", "did you mean 'unlabelled'", split="unlabeled", **section)
    assert_refused("no split", "'train'", **section)
    assert_refused("empty", split="test[:0]", **section)
    assert_refused(
        "'label'", "images: image, segmentation_mask", split="test", image_key="label", **section
    )
    assert_refused("not prepared", kind="tfds", name="stl10", data_dir=tmp_path)
    copy = tmp_path / "stl10"
    shutil.copytree(stl / "stl10" / "1.0.0", copy)
    section = {"kind": "tfds", "data_dir": copy, "split": "unlabelled"}
    file = copy / "stl10-unlabelled.array_record-00000-of-00001"
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    assert_refused("damaged", copy, **section)
    edit_info(copy, fileFormat="tfrecord")
    assert_refused("random access", **section)
    (copy / "dataset_info.json").write_text("{")
    assert_refused("dataset_info.json", copy, **section)


# The test set must not be among them.


def test_the_test_set_itself_is_refused():
    test = Subset(open_source("sample", split="test"), range(0, 5000, 10))
    same = open_unlabelled(test.label_names, kind="sample", split="test")
    with pytest.raises(UserError, match=r"All 500 images of the test set are in the extra set \("):
        refuse_test_images(same, test, what="the extra set")
    unlabelled = open_unlabelled(test.label_names, kind="sample")
    assert refuse_test_images(unlabelled, test, what="x") == 0
    half = Subset(same, range(2500))
    assert refuse_test_images(half, test, what="x") == 250
    assert refuse_test_images(same, Subset(test, []), what="x") == 0


def test_files_are_compared_by_content(tmp_path):
    test, others = tmp_path / "test", tmp_path / "others"
    for place, photo in (("a/1.png", CAT), ("a/2.png", COFFEE), ("b/3.png", ASTRONAUT)):
        (test / place).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo).save(test / place)
    others.mkdir()
    for i, name in enumerate(("a/1.png", "b/3.png")):
        shutil.copy(test / name, others / f"{i}.png")
    # As large as a test image, but another picture.
    (others / "2.png").write_bytes(bytes((test / "a" / "2.png").stat().st_size))
    os.mkfifo(others / "pipe.png")
    (others / "broken link.png").symlink_to("nowhere")

    def found():
        unlabelled = open_unlabelled(NAMES, kind="folder", path=others)
        return refuse_test_images(unlabelled, open_source("folder", path=test), what="others")

    assert found() == 2
    (test / "b" / "missing.png").symlink_to("nowhere")
    assert found() == 2
    shutil.copy(test / "a" / "2.png", others / "3.png")
    with pytest.raises(UserError, match=r"All 3 images .* in others"):
        found()


def test_records_and_files_are_compared(stl, tmp_path):
    section = {"name": "stl10", "data_dir": stl}
    test = open_source("tfds", split="test", **section)
    unlabelled = open_unlabelled(NAMES, kind="tfds", split="unlabelled", **section)
    with pytest.raises(UserError, match="All 2 images"):  # CAT and COFFEE are in both
        refuse_test_images(unlabelled, test, what="x")
    (tmp_path / "cat.jpg").write_bytes(test[0].content)
    files = open_unlabelled(NAMES, kind="folder", path=tmp_path)
    assert refuse_test_images(files, test, what="x") == 1

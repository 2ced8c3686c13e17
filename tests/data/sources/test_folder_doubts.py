"""Archives and exports as people have them: read, or refused with the line that makes it right."""

import re

import pytest

from dreamda_jax.data.sources.folder import open_folder
from dreamda_jax.data.sources.overview import overview
from dreamda_jax.errors import UserError
from tests.data.sources.test_folder import listing, put


def refusal(path, **options):
    with pytest.raises(UserError) as error:
        open_folder(path, **options)
    return str(error.value)


def advised(message):
    """The folder that a refusal advises."""
    return re.search(r"--config\.source\.path=(\S+?)[\s.]", message)[1]


def in_classes(prefix, *, classes=("cat", "dog"), suffix="png"):
    return [f"{prefix}{name}/{i}.{suffix}" for name in classes for i in range(2)]


@pytest.mark.parametrize("around", ["archive/archive/", "EuroSAT/2750/", "a/b/c/d/"])
def test_folders_around_the_classes_however_many(tmp_path, around):
    put(tmp_path, *in_classes(around), "__MACOSX/x/._cat", ".DS_Store")
    message = refusal(tmp_path)
    assert "look like the classes" in message
    assert listing(open_folder(advised(message)))[0] == ("cat/0.png", "cat")
    assert open_folder(tmp_path, classes="sub_folders").label_names == (around.split("/")[0],)


def test_a_folder_in_each_class_is_of_the_class(tmp_path):
    """Tiny ImageNet's n01443537/images/*.JPEG, a text beside each."""
    names = ("n01443537", "n01629819", "n01641577")
    put(tmp_path, *[f"{n}/images/{i}.jpg" for n in names for i in range(2)])
    put(tmp_path, *[f"{n}/{n}_boxes.txt" for n in names])
    source = open_folder(tmp_path)
    assert source.label_names == names
    assert [label for _, label in listing(source)] == [n for n in names for _ in range(2)]


def test_the_same_classes_in_each_folder_one_level_further_down(tmp_path):
    """Office-31's amazon/images/bike."""
    domains = ("amazon", "dslr", "webcam")
    for domain in domains:
        put(tmp_path, *in_classes(f"{domain}/images/"))
    message = refusal(tmp_path)
    assert "splits 'amazon', 'dslr', 'webcam'" in message
    assert advised(message) == str(tmp_path / "amazon/images")


def test_splits_named_twice_and_the_one_to_measure_on(tmp_path):
    """Intel's seg_train/seg_train; chest_xray's own copy of itself."""
    put(tmp_path / "intel", *in_classes("seg_train/seg_train/"), *in_classes("seg_test/seg_test/"))
    message = refusal(tmp_path / "intel")
    assert advised(message) == str(tmp_path / "intel/seg_train/seg_train")
    assert f"--config.test.path={tmp_path / 'intel/seg_test/seg_test'}" in message
    xray = tmp_path / "chest_xray"
    for split in ("train", "val", "test", "chest_xray/train", "chest_xray/test"):
        put(xray, *in_classes(f"{split}/"))
    message = refusal(xray)
    assert advised(message) == str(xray / "train")
    assert f"--config.test.path={xray / 'test'} " in message  # not val


@pytest.mark.parametrize(
    "folders",
    [("images", "masks"), ("images", "annotations/trimaps"), ("JPEGs", "Ground_Truth")],
)
def test_pictures_and_what_belongs_to_them_are_no_classes(tmp_path, folders):
    put(tmp_path, *[f"{folder}/{i}.png" for folder in folders for i in range(3)])
    assert "pictures and what belongs to them" in refusal(tmp_path)
    assert len(open_folder(tmp_path, classes="sub_folders")) == 6


def test_masks_in_the_folder_of_a_class(tmp_path):
    for name in ("COVID", "Normal"):
        put(tmp_path, *[f"{name}/{part}/{i}.png" for part in ("images", "masks") for i in (0, 1)])
    message = refusal(tmp_path)
    assert "all of them would be read as images of the class 'COVID'" in message
    assert "splits" not in message


@pytest.mark.parametrize("table", ["labels.csv", "result.json", "imagelabels.mat", "data.xlsx"])
def test_a_table_beside_the_one_folder(tmp_path, table):
    put(tmp_path, *[f"images/{i}.jpg" for i in range(3)], table, "README.md")
    assert repr(table) in refusal(tmp_path)
    assert open_folder(tmp_path, classes="sub_folders").label_names == ("images",)
    (tmp_path / table).unlink()
    source = open_folder(tmp_path)
    assert "this set has one class only" in "\n".join(overview(source, label_width=9))


@pytest.mark.parametrize("table", ["_classes.csv", "_annotations.coco.json", "Metadata.csv"])
def test_a_table_among_images_without_labels_is_named(tmp_path, table):
    put(tmp_path, "0.jpg", "1.jpg", table)
    assert f"({table!r} may have the labels)" in refusal(tmp_path)


def test_a_table_beside_splits_without_class_folders(tmp_path):
    put(tmp_path, "train/0.jpg", "train/1.jpg", "test/2.jpg", "train.csv")
    message = refusal(tmp_path)
    assert advised(message) == str(tmp_path / "train")
    assert "'train.csv' may have their labels" in message


def test_test_images_do_not_become_seeds_by_tables_or_patterns(tmp_path):
    put(
        tmp_path,
        *[
            f"{split}/{name}_{i}.png"
            for split in ("train", "test")
            for name in ("cat", "dog")
            for i in range(2)
        ],
    )
    assert "splits 'test', 'train'" in refusal(tmp_path, label_pattern="(cat|dog)_")
    rows = "".join(f"{name}_{i}.png,{name}\n" for name in ("cat", "dog") for i in range(2))
    for split in ("train", "test"):
        (tmp_path / split / "metadata.csv").write_text("file_name,label\n" + rows)
    assert "splits 'test', 'train'" in refusal(tmp_path)
    assert len(open_folder(tmp_path / "train")) == 4
    assert len(open_folder(tmp_path, classes="sub_folders")) == 8


def test_records_are_pointed_to_their_kind(tmp_path):
    put(tmp_path, "dataset_info.json", "features.json", "x-train.array_record-00000-of-00001")
    message = refusal(tmp_path)
    assert "source.kind=tfds" in message
    assert f"source.data_dir={tmp_path}" in message


def test_a_class_of_files_without_suffix_is_told_what_it_holds(tmp_path):
    put(tmp_path, "cat/0001", "cat/0002", "dog/0.png")
    assert "'cat' (only 'cat/0001', 'cat/0002')" in refusal(tmp_path)


def test_what_nas_phones_and_browsers_leave(tmp_path):
    put(tmp_path, *in_classes(""))
    put(
        tmp_path,
        *("cat/@eaDir/0.png/SYNOPHOTO_THUMB_M.jpg", "cat/.@__thumb/default0.jpg"),
        *("#recycle/cat/9.png", ".Trash-1000/files/1.png", "cat/.picasaoriginals/0.png"),
        *("cat/._0.png", "cat/Picasa.ini", "cat/0.png:Zone.Identifier", "dog/.nomedia"),
    )
    source = open_folder(tmp_path)
    assert [name for name, _ in listing(source)] == [
        "cat/0.png",
        "cat/1.png",
        "dog/0.png",
        "dog/1.png",
    ]
    assert {"#recycle/", ".Trash-1000/", "cat/Picasa.ini"} <= set(source.ignored)

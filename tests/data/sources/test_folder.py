import json
import os
import pickle
import unicodedata

import numpy as np
import pytest
from PIL import Image

from dreamda_jax.data.sources.folder import open_folder
from dreamda_jax.data.sources.folder_walk import describe_ignored
from dreamda_jax.data.transforms import ImageError, decode_image
from dreamda_jax.errors import UserError


def put(root, *files):
    for i, file in enumerate(files):
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif"):
            Image.fromarray(np.full((8, 8, 3), i, np.uint8)).save(path)
        else:
            path.write_text("not an image")
    return root


def assert_refused(*words, **options):
    with pytest.raises(UserError) as error:
        open_folder(options.pop("path"), **options)
    message = str(error.value)
    for word in words:
        assert str(word) in message, message
    return message


def listing(source):
    return [(e.name, source.label_names[e.label]) for e in source]


# Layout 1: a sub-folder per class.


def test_class_folders(tmp_path):
    put(
        tmp_path,
        "dog/b.PNG",
        "dog/a.jpg",
        "dog/deep/er/c.webp",
        "cat/x.JpEg",
        "cat/y.tif",
        "cat/z.gif",
        "cat/w.bmp",
        "cat/notes.txt",
        "cat/.hidden.png",
        "cat/Thumbs.db",
        "cat/.cache/old.png",
        ".git/config.png",
        "__MACOSX/cat/x.jpg",
        "README.md",
        "stray.png",
    )
    source = open_folder(tmp_path)
    assert listing(source) == [
        ("cat/w.bmp", "cat"),
        ("cat/x.JpEg", "cat"),
        ("cat/y.tif", "cat"),
        ("cat/z.gif", "cat"),
        ("dog/a.jpg", "dog"),
        ("dog/b.PNG", "dog"),
        ("dog/deep/er/c.webp", "dog"),
    ]
    assert [e.index for e in source] == list(range(7))
    assert source.label_names == ("cat", "dog")
    assert set(source.ignored) == {
        "README.md",
        "stray.png",
        ".git/",
        "__MACOSX/",
        "cat/.hidden.png",
        "cat/Thumbs.db",
        "cat/notes.txt",
    }
    for example in source:
        decode_image(example.content, resolution=8, crop="center")
    with pytest.raises(IndexError):
        source[7]
    with pytest.raises(IndexError):
        source[-1]


def test_order_does_not_depend_on_the_file_system(tmp_path, monkeypatch):
    put(tmp_path, "b/2.png", "b/10.png", "a/1.png", "a/B.png", "a/a.png")
    expected = open_folder(tmp_path)
    scandir = os.scandir

    class Shuffled:
        def __init__(self, path):
            self.entries = sorted(scandir(path), key=lambda e: e.name, reverse=True)

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(os, "scandir", Shuffled)
    again = open_folder(tmp_path)
    assert listing(again) == listing(expected)
    assert again.fingerprint() == expected.fingerprint()


def test_fingerprint(tmp_path):
    put(tmp_path / "one", "a/1.png", "b/2.png")
    put(tmp_path / "two", "a/1.png", "b/2.png")
    first = open_folder(tmp_path / "one").fingerprint()
    assert len(first) == 64
    assert open_folder(tmp_path / "two").fingerprint() == first  # the place does not count
    put(tmp_path / "two", "b/3.png")
    assert open_folder(tmp_path / "two").fingerprint() != first
    (tmp_path / "one" / "b").rename(tmp_path / "one" / "c")
    assert open_folder(tmp_path / "one").fingerprint() != first


def test_source_pickles(tmp_path):
    source = open_folder(put(tmp_path / "My Photos", "a/1.png", "b/2.png"))
    again = pickle.loads(pickle.dumps(source))
    assert listing(again) == listing(source)
    assert source.name == "My_Photos"


def test_strange_class_names(tmp_path):
    names = ["Käse", "猫", "two words", "c++", "..dots", "a'b\"c"]
    put(tmp_path, *(f"{name}/1.png" for name in names if not name.startswith(".")))
    assert set(open_folder(tmp_path).label_names) == set(names) - {"..dots"}


def test_decomposed_names_sort_like_composed_ones(tmp_path):
    put(tmp_path / "nfc", "a/\u00e4.png", "a/b.png", "a/z.png")
    put(tmp_path / "nfd", "a/a\u0308.png", "a/b.png", "a/z.png")
    nfc, nfd = open_folder(tmp_path / "nfc"), open_folder(tmp_path / "nfd")
    assert [e.name for e in nfc] == [unicodedata.normalize("NFC", e.name) for e in nfd]
    assert nfc.fingerprint() == nfd.fingerprint()


def test_names_that_are_not_utf8(tmp_path):
    put(tmp_path, "a/1.png")
    try:
        (tmp_path / "a" / "1.png").rename(os.fsdecode(os.fsencode(tmp_path) + b"/a/\xff.png"))
    except OSError:
        pytest.skip("the file system takes UTF-8 only")
    source = open_folder(tmp_path)
    assert source[0].name.encode()  # printable
    assert decode_image(source[0].content, resolution=8, crop="center").pixels.shape == (8, 8, 3)
    assert source.fingerprint() == open_folder(tmp_path).fingerprint()


def test_links(tmp_path):
    put(tmp_path / "data", "a/1.png", "b/2.png")
    put(tmp_path / "elsewhere", "3.png", "deep/4.png")
    (tmp_path / "data" / "c").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "a" / "up").symlink_to(tmp_path / "data")  # a loop of folders
    (tmp_path / "data" / "b" / "self").symlink_to(tmp_path / "data" / "b")
    (tmp_path / "data" / "b" / "gone.png").symlink_to(tmp_path / "nothing")
    (tmp_path / "data" / "b" / "loop.png").symlink_to(tmp_path / "data" / "b" / "loop.png")
    (tmp_path / "elsewhere" / "loop").symlink_to(tmp_path / "elsewhere" / "loop")
    source = open_folder(tmp_path / "data")
    names = [e.name for e in source if e.name.startswith(("b/", "c/"))]
    assert names == ["b/2.png", "b/gone.png", "b/loop.png", "c/3.png", "c/deep/4.png"]
    reasons = {}
    for example in source:
        try:
            decode_image(example.content, resolution=8, crop="center")
        except ImageError as error:
            reasons[example.name] = str(error)
    assert reasons["b/gone.png"] == "missing"
    assert reasons["b/loop.png"] == "circle of symbolic links"


def test_no_such_folder(tmp_path):
    put(tmp_path, "a/1.png")
    assert_refused("No such file", tmp_path / "x" / "y", tmp_path, path=tmp_path / "x" / "y")
    assert_refused("not a directory", "unpack", path=tmp_path / "a" / "1.png")
    assert_refused("not set", path="")
    assert_refused("not set", path=None)
    assert_refused("not a valid path", path="nul\0")
    assert_refused("cannot be opened", path="x" * 5000)


def test_unreadable_folder(tmp_path, monkeypatch):
    put(tmp_path, "a/1.png", "b/2.png")
    scandir = os.scandir

    def refuse(path):  # chmod would not stop root
        if os.fspath(path).endswith("b"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert_refused("Permission denied", "permissions", tmp_path / "b", path=tmp_path)


def test_nothing_to_find(tmp_path):
    assert_refused("No images", "jpg, ", path=tmp_path)
    put(tmp_path, "a/notes.txt", "b/data.csv")
    assert_refused("No images", "a/notes.txt", "webp", path=tmp_path)


def test_class_without_image(tmp_path):
    put(tmp_path, "cat/1.png", "bird/notes.txt")
    (tmp_path / "dog").mkdir()
    assert_refused("without a single image", "'bird'", "'dog'", "Remove", path=tmp_path)


def test_flat_folder_without_labels(tmp_path):
    put(tmp_path, "1.png", "2.png")
    assert_refused("2 images", "'1.png'", "metadata.csv", "label_pattern", path=tmp_path)


def test_split_folders(tmp_path):
    put(tmp_path, "train/cat/1.png", "test/cat/2.png", "README.md")
    assert_refused("splits 'test', 'train'", tmp_path / "train", path=tmp_path)
    assert len(open_folder(tmp_path / "train")) == 1
    put(tmp_path / "vehicles", "boat/3.png", "train/1.png")  # among other classes a vehicle
    assert open_folder(tmp_path / "vehicles").label_names == ("boat", "train")


@pytest.mark.parametrize(
    "files",
    [
        ["training_set/cat/1.png", "test_set/cat/2.png"],
        ["seg_train/sea/1.png", "seg_test/sea/2.png", "seg_pred/3.png"],
        ["train2017/1.png", "val2017/2.png"],
        ["train/cat/1.png", "test/cat/2.png", "unlabelled/3.png"],
        ["Training/cat/1.png", "Validation/cat/2.png"],
        ["trainImages/1.png", "testImages/2.png"],
        ["fold0/cat/1.png", "fold0/dog/2.png", "fold1/cat/1.png", "fold1/dog/3.png"],
        ["seen/cat/1.png", "unseen/cat/1.png", "unseen/dog/1.png", "seen/dog/1.png", "x/1.png"],
    ],
)
def test_splits_by_other_names(tmp_path, files):
    put(tmp_path, *files)
    message = assert_refused("splits", "--config.source.path=", path=tmp_path)
    assert "--config.source.classes=sub_folders" in message
    folders = {file.split("/")[0] for file in files}
    assert set(open_folder(tmp_path, classes="sub_folders").label_names) == folders


@pytest.mark.parametrize(
    "files",
    [
        ["cat/2019/1.png", "cat/2.png", "dog/2019/3.png", "dog/1.png"],  # images beside folders
        ["cat/a/1.png", "dog/b/1.png"],
        ["trainer/1.png", "tester/1.png"],
        ["train/1.png", "tram/1.png"],
        ["cat/1.png"],
    ],
)
def test_classes_that_are_no_splits(tmp_path, files):
    put(tmp_path, *files)
    folders = sorted({file.split("/")[0] for file in files})
    assert list(open_folder(tmp_path).label_names) == folders


@pytest.mark.parametrize("outer", ["my_dataset", "images", "data"])
def test_a_folder_around_the_classes(tmp_path, outer):
    put(tmp_path, f"{outer}/cat/1.png", f"{outer}/dog/1.png", "README.md")
    assert_refused(repr(outer), f"--config.source.path={tmp_path / outer}", path=tmp_path)
    assert open_folder(tmp_path, classes="sub_folders").label_names == (outer,)
    assert open_folder(tmp_path / outer).label_names == ("cat", "dog")
    assert_refused("source.classes", "sub_folders", path=tmp_path, classes="leaves")


def test_what_systems_and_devices_put_beside_images(tmp_path):
    put(
        tmp_path,
        *("cat/1.png", "dog/1.png", "@eaDir/cat.jpg/SYNOPHOTO_THUMB_M.jpg", "cat/@eaDir/1.png"),
        *("$RECYCLE.BIN/S-1-5/$R0.png", "lost+found/1.png", "System Volume Information/1.png"),
        *("#recycle/1.png", "cat/Thumbs.db", "cat/desktop.ini", ".Trashes/1.png"),
    )
    source = open_folder(tmp_path)
    assert listing(source) == [("cat/1.png", "cat"), ("dog/1.png", "dog")]
    assert {"@eaDir/", "$RECYCLE.BIN/", "lost+found/"} <= set(source.ignored)
    assert "hidden or of the system: " in describe_ignored(source.ignored)


def test_links_upwards_and_sideways_bring_nothing_along(tmp_path):
    put(tmp_path, "cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png")
    (tmp_path / "cat" / "back").symlink_to("..")
    (tmp_path / "dog" / "friend").symlink_to(tmp_path / "cat")
    assert [name for name, _ in listing(open_folder(tmp_path))] == [
        *("cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png")
    ]


def test_every_kind_that_is_decoded_is_read(tmp_path):
    put(tmp_path, "cat/1.png")
    pixels = Image.fromarray(np.full((8, 8, 3), 7, np.uint8))
    kinds = {"jfif": "JPEG", "jpe": "JPEG", "ppm": "PPM", "pgm": "PPM", "jp2": "JPEG2000"}
    kinds |= {"apng": "PNG", "dib": "DIB", "tiff": "TIFF"}
    for suffix, kind in kinds.items():
        image = pixels.convert("L") if suffix == "pgm" else pixels
        image.save(tmp_path / "cat" / f"{suffix}.{suffix}", kind)
    for name in ("a.heic", "b.HEIC", "c.svg", "notes.txt"):
        (tmp_path / "cat" / name).write_text("")
    source = open_folder(tmp_path)
    assert len(source) == 1 + len(kinds)
    for example in source:
        decode_image(example.content, resolution=8, crop="center")
    said = describe_ignored(source.ignored)
    assert said == (
        "images of a kind that is not read here: .heic (2), .svg (1); "
        "1 files that are no images: 'cat/notes.txt'"
    )
    assert describe_ignored(()) == ""


def test_classes_that_are_numbers_are_in_their_order(tmp_path):
    put(tmp_path, *(f"{number}.0/1.png" for number in range(12)))
    assert open_folder(tmp_path).label_names == tuple(f"{number}.0" for number in range(12))


def test_class_names_that_collide(tmp_path):
    put(tmp_path, "ankle boot/1.png", "ankle_boot/2.png")
    assert_refused("'ankle boot'", "'ankle_boot'", "collide", path=tmp_path)


# Layout 2: a metadata table.


def write(root, *rows, file="metadata.jsonl"):
    root.mkdir(parents=True, exist_ok=True)
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    (root / file).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def test_metadata_jsonl(tmp_path):
    put(tmp_path, "b.png", "sub/a.png", "unlisted.png", "notes.txt")
    write(
        tmp_path,
        {"file_name": "sub/a.png", "label": "dog", "text": "a \u2028 dog", "extra": 1},
        "",
        {"file_name": "./b.png", "label": "cat"},
        {"file_name": "gone.png", "label": "cat", "text": ""},
    )
    source = open_folder(tmp_path)
    assert listing(source) == [("b.png", "cat"), ("gone.png", "cat"), ("sub/a.png", "dog")]
    assert [e.text for e in source] == [None, None, "a \u2028 dog"]
    assert source.ignored == ("notes.txt", "unlisted.png")
    with pytest.raises(ImageError, match="missing"):
        decode_image(source[1].content, resolution=8, crop="center")
    before = source.fingerprint()
    write(tmp_path, {"file_name": "b.png", "label": "cat", "text": "new"})
    assert open_folder(tmp_path).fingerprint() != before


def test_metadata_csv(tmp_path):
    put(tmp_path, "a.png", "b.png", "c.png")
    content = "\ufefffile_name,text,label\r\n"
    content += 'b.png,"one, two\nthree",10\r\n\r\na.png,,2\r\nc.png,x,2\r\n'
    (tmp_path / "metadata.csv").write_text(content, encoding="utf-8", newline="")
    source = open_folder(tmp_path)
    assert source.label_names == ("2", "10")  # by number, not by letter
    assert [(e.name, e.label, e.text) for e in source] == [
        ("a.png", 0, None),
        ("b.png", 1, "one, two\nthree"),
        ("c.png", 0, "x"),
    ]
    named = open_folder(tmp_path, label_names={"2": "cat", "10": "dog"})
    assert named.label_names == ("cat", "dog")


def test_metadata_with_names_for_integers(tmp_path):
    put(tmp_path, "a.png", "b.png")
    write(tmp_path, {"file_name": "a.png", "label": 1}, {"file_name": "b.png", "label": 0})
    assert listing(open_folder(tmp_path, label_names=["cat", "dog"])) == [
        ("a.png", "dog"),
        ("b.png", "cat"),
    ]
    assert_refused("no name", "'1'", path=tmp_path, label_names=["cat"])
    assert_refused(
        "without a single image", "fish", path=tmp_path, label_names=["cat", "dog", "fish"]
    )
    assert_refused("mapping", path=tmp_path, label_names="cat")
    assert_refused("twice", path=tmp_path, label_names=["cat", "cat"])


def test_several_captions_of_one_image(tmp_path):
    put(tmp_path, "a.png")
    rows = [{"file_name": "a.png", "label": "cat", "text": t} for t in ("one", "two")]
    assert [e.text for e in open_folder(write(tmp_path, *rows))] == ["one", "two"]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ('{"file_name": "b.png", "label": ', ["line 2", "not valid JSON"]),
        ('{"file_name": "b.png", "label": "cat", "label": "dog"}', ["line 2", "'label'", "twice"]),
        ("[1, 2]", ["line 2", "list instead of an object"]),
        ("[" * 100_000, ["line 2", "not valid JSON"]),
        ({"label": "cat"}, ["line 2", "no column 'file_name'", "'label'"]),
        ({"file_name": "b.png", "class": "cat"}, ["line 2", "no column 'label'", "'class'"]),
        ({}, ["line 2", "no columns"]),
        ({"file_name": "../b.png", "label": "cat"}, ["line 2", "leaves the folder", "'..'"]),
        ({"file_name": "x/../../b.png", "label": "cat"}, ["line 2", "leaves the folder"]),
        ({"file_name": "..\\b.png", "label": "cat"}, ["line 2", "leaves the folder"]),
        ({"file_name": "/etc/passwd", "label": "cat"}, ["line 2", "leaves the folder"]),
        ({"file_name": "C:\\b.png", "label": "cat"}, ["line 2", "leaves the folder"]),
        ({"file_name": "a\0b.png", "label": "cat"}, ["line 2", "leaves the folder"]),
        ({"file_name": "", "label": "cat"}, ["line 2", "must name a file"]),
        ({"file_name": ".", "label": "cat"}, ["line 2", "must name a file"]),
        ({"file_name": 7, "label": "cat"}, ["line 2", "must name a file"]),
        ({"file_name": "b.png", "label": None}, ["line 2", "no label"]),
        ({"file_name": "b.png", "label": "  "}, ["line 2", "no label"]),
        ({"file_name": "b.png", "label": -1}, ["line 2", "no label"]),
        ({"file_name": "b.png", "label": True}, ["line 2", "neither"]),
        ({"file_name": "b.png", "label": 1.5}, ["line 2", "neither"]),
        ({"file_name": "b.png", "label": ["cat"]}, ["line 2", "neither"]),
        ({"file_name": "b.png", "label": 3}, ["line 2", "an integer", "line 1"]),
        ({"file_name": "a.png", "label": "dog"}, ["line 2", "'cat'", "line 1"]),
        ({"file_name": "b.png", "label": "cat", "text": 5}, ["line 2", "text"]),
    ],
)
def test_metadata_that_is_wrong(tmp_path, row, words):
    write(tmp_path, {"file_name": "a.png", "label": "cat"}, row)
    assert_refused("metadata.jsonl", *words, path=tmp_path)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["file_name,label", "a.png,cat,extra"], ["line 2", "more fields"]),
        (["file_name,label", "a.png"], ["line 2", "no label"]),
        (["file_name:label", "a.png:cat"], ["line 2", "no column", "file_name:label"]),
        (["file_name,label,label", "a.png,cat,dog"], ["'label'", "twice"]),
        (["file_name,label", "a.png,0", "b.png,1", "c.png,-1"], ["line 4", "no label", "-1"]),
        (["file_name,label", 'a.png,"cat'], ["not valid CSV"]),
        (["file_name,label"], ["no rows"]),
        ([""], ["no rows"]),
    ],
)
def test_csv_that_is_wrong(tmp_path, rows, words):
    write(tmp_path, *rows, file="metadata.csv")
    assert_refused("metadata.csv", *words, path=tmp_path)


def test_metadata_that_cannot_be_used(tmp_path):
    write(tmp_path / "both", {"file_name": "a", "label": "b"})
    write(tmp_path / "both", "file_name,label", file="metadata.csv")
    assert_refused("both", "Remove one", path=tmp_path / "both")
    write(tmp_path / "parquet", "PAR1", file="metadata.parquet")
    assert_refused("parquet", "to_csv", path=tmp_path / "parquet")
    (tmp_path / "latin").mkdir()
    (tmp_path / "latin" / "metadata.csv").write_bytes(b"file_name,label\na.png,K\xe4se\n")
    assert_refused("line 2", "UTF-8", path=tmp_path / "latin")


def test_lone_surrogates_in_json(tmp_path):
    put(tmp_path, "good.png")
    odd = '{"file_name": "\\ud800.png", "label": "\\ud800x", "text": "\\udfff"}'
    write(tmp_path, odd, {"file_name": "good.png", "label": "x", "text": "x"})
    source = open_folder(tmp_path)
    (lone,) = (example for example in source if example.name != "good.png")
    (lone.name + lone.text + "".join(source.label_names)).encode()
    source.fingerprint()
    with pytest.raises(ImageError, match="missing"):
        decode_image(lone.content, resolution=8, crop="center")


@pytest.mark.parametrize(
    "content",
    [
        "file_name;label\n0.png;cat\n1.png;dog\n",
        "file_name\tlabel\n0.png\tcat\n1.png\tdog\n",
        "sep=;\r\nfile_name;label\r\n0.png;cat\r\n1.png;dog\r\n",
        "sep=,\nfile_name,label\n0.png,cat\n1.png,dog\n",
        "file_name, label\n0.png, cat\n1.png, dog\n",
        "file_name,label\n0.png,cat\n1.png,dog\n,\n , \n",
        " file_name |label\n0.png|cat\n1.png|dog\n",
        "file_name,label\r0.png,cat\r1.png,dog\r",
    ],
)
def test_tables_as_spreadsheets_write_them(tmp_path, content):
    put(tmp_path, "0.png", "1.png")
    (tmp_path / "metadata.csv").write_bytes(content.encode())
    assert listing(open_folder(tmp_path)) == [("0.png", "cat"), ("1.png", "dog")]


def test_a_table_in_each_folder(tmp_path):
    put(tmp_path, "a/0.png", "a/1.png", "b/0.png", "b/1.png")
    for folder in ("a", "b"):
        write(tmp_path / folder, "file_name,label", "0.png,cat", "1.png,dog", file="metadata.csv")
    assert listing(open_folder(tmp_path)) == [
        *(("a/0.png", "cat"), ("a/1.png", "dog"), ("b/0.png", "cat"), ("b/1.png", "dog"))
    ]
    write(tmp_path, "file_name,label", "a/0.png,cat", file="metadata.csv")
    assert_refused("both list", tmp_path / "a", path=tmp_path)
    (tmp_path / "metadata.csv").unlink()
    write(tmp_path / "b", "file_name,label", "0.png,0", "1.png,1", file="metadata.csv")
    assert_refused("numbers", tmp_path / "b", path=tmp_path)


def test_names_as_windows_and_macos_write_them(tmp_path):
    composed, apart = "caf\u00e9", "cafe\u0301"
    put(tmp_path, "cat/0.png", "dog/0.png", f"{apart}.png")
    rows = ["file_name,label", "cat\\0.png,cat", "dog\\0.png,dog", f"{composed}.png,cup"]
    write(tmp_path, *rows, file="metadata.csv")
    source = open_folder(tmp_path)
    for example in source:
        decode_image(example.content, resolution=8, crop="center")
    assert sorted(source.label_names) == ["cat", "cup", "dog"]
    assert source.ignored == ()
    put(tmp_path, f"{composed}.png")  # where two files are alike, the name says which
    assert (tmp_path / f"{composed}.png") in [example.content for example in open_folder(tmp_path)]


def test_a_table_of_which_no_file_is_there(tmp_path):
    put(tmp_path, "images/0.png")
    write(tmp_path, "file_name,label", "0.png,cat", "1.png,cat", file="metadata.csv")
    assert_refused("2 files", "none is there", "'0.png'", path=tmp_path)


# Layout 3: labels in the file names.

SHENZHEN = {"0": "normal", "1": "tuberculosis"}


def test_label_pattern(tmp_path):
    files = ["CHNCXR_0001_0.png", "CHNCXR_0002_1.png", "CXR_png/CHNCXR_0003_1.png", "notes.txt"]
    put(tmp_path, *files)
    source = open_folder(tmp_path, label_pattern=r"_(\d)\.png$", label_names=SHENZHEN)
    assert listing(source) == [
        ("CHNCXR_0001_0.png", "normal"),
        ("CHNCXR_0002_1.png", "tuberculosis"),
        ("CXR_png/CHNCXR_0003_1.png", "tuberculosis"),
    ]
    assert source.label_names == ("normal", "tuberculosis")
    assert source.ignored == ("notes.txt",)
    by_number = open_folder(tmp_path, label_pattern=r"_(\d)\.png$", label_names={0: "n", 1: "t"})
    assert by_number.label_names == ("n", "t")
    assert open_folder(tmp_path, label_pattern=r"_(\d)\.png$").label_names == ("0", "1")


def test_label_pattern_that_is_wrong(tmp_path):
    put(tmp_path, "x_0.png", "x_1.png", "odd.png")
    pattern = r"_(\d)\.png$"
    assert_refused("1 of 3", "'odd.png'", path=tmp_path, label_pattern=pattern)
    (tmp_path / "odd.png").unlink()
    assert_refused("regular expression", "(", path=tmp_path, label_pattern="_(")
    assert_refused("no group", "parentheses", path=tmp_path, label_pattern=r"_\d")
    assert_refused(
        "'1'", "label_names", path=tmp_path, label_pattern=pattern, label_names={"0": "n"}
    )
    names = {**SHENZHEN, "2": "other"}
    assert_refused("2 (other)", path=tmp_path, label_pattern=pattern, label_names=names)
    (tmp_path / "empty").mkdir()
    assert_refused("No images", path=tmp_path / "empty", label_pattern=pattern)


def test_label_names_without_a_use(tmp_path):
    put(tmp_path, "a/1.png")
    assert_refused("label_names", "label_pattern", path=tmp_path, label_names=SHENZHEN)

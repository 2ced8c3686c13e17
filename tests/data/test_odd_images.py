"""Images that are sound and unusual: negatives, few significant bits, long comments, huge ones."""

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from dreamda_jax.data import image_memory
from dreamda_jax.data.transforms import ImageError, decode_image
from tests.support.paths import ROOT

RAMP = np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)


def encode(image, image_format="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def pixels(content, resolution=8):
    return decode_image(content, resolution=resolution, crop="center").pixels


def reason(content):
    with pytest.raises(ImageError) as error:
        pixels(content)
    return str(error.value)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(rows: np.ndarray, *, colour: int, depth: int, before: bytes = b"") -> bytes:
    """A PNG written by hand, with any chunks before its pixels."""
    height, width = rows.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    raw = b"".join(b"\0" + row.astype(f">u{depth // 8}").tobytes() for row in rows)
    body = chunk(b"IHDR", header) + before + chunk(b"IDAT", zlib.compress(raw))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def tiff(values: np.ndarray, *, order: str, photometric: int) -> bytes:
    """An uncompressed grey TIFF of one strip."""
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    data = values.astype(values.dtype.newbyteorder(order)).tobytes()
    tags = [
        *((256, values.shape[1]), (257, values.shape[0]), (258, values.dtype.itemsize * 8)),
        *((259, 1), (262, photometric), (273, 8), (277, 1), (278, values.shape[0])),
        *((279, len(data)), (339, kind)),
    ]
    entries = b"".join(
        struct.pack(f"{order}HHI", tag, 4 if tag in (273, 279) else 3, 1)
        + (struct.pack(f"{order}I", v) if tag in (273, 279) else struct.pack(f"{order}HH", v, 0))
        for tag, v in tags
    )
    start = 8 + len(data)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", start)
    return head + data + struct.pack(f"{order}H", len(tags)) + entries + b"\0" * 4


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_white_may_be_zero(order, dtype):
    values = RAMP.astype(dtype)
    positive = pixels(tiff(values, order=order, photometric=1))
    negative = pixels(tiff(values, order=order, photometric=0))
    assert (int(positive[0, 0, 0]), int(positive[-1, -1, 0])) == (0, 255)
    np.testing.assert_array_equal(negative, 255 - positive)


def test_white_is_zero_as_pillow_writes_it():
    image = pixels(encode(Image.fromarray(RAMP), "TIFF", tiffinfo={262: 0}))
    assert (int(image[0, 0, 0]), int(image[-1, -1, 0])) == (255, 0)
    eight = Image.fromarray((RAMP >> 8).astype(np.uint8))
    image = pixels(encode(eight, "TIFF", tiffinfo={262: 0}))  # Pillow turns these both ways
    assert (int(image[0, 0, 0]), int(image[-1, -1, 0])) == (0, 255)


@pytest.mark.parametrize("bits", [9, 10, 12, 14])
def test_significant_bits_are_honoured(bits):
    few = np.round(np.linspace(0, 2**bits - 1, 64)).reshape(8, 8).astype(np.uint16)
    said = chunk(b"sBIT", bytes([bits]))
    image = pixels(png(few, colour=0, depth=16, before=said))
    assert (int(image.min()), int(image.max())) == (0, 255)
    whole = pixels(png(RAMP, colour=0, depth=16, before=said))  # scaled up, as PNG asks for
    np.testing.assert_array_equal(whole, pixels(png(RAMP, colour=0, depth=16)))
    damaged = said[:-1] + bytes([said[-1] ^ 1])
    assert pixels(png(few, colour=0, depth=16)).max() < 128
    assert reason(png(few, colour=0, depth=16, before=damaged)).startswith(("damaged", "trunc"))


def test_a_transparent_grey_of_sixteen_bits_is_white():
    keyed = chunk(b"tRNS", struct.pack(">H", int(RAMP[3, 3])))
    image = pixels(png(RAMP, colour=0, depth=16, before=keyed))
    plain = pixels(png(RAMP, colour=0, depth=16))
    assert image[3, 3].tolist() == [255, 255, 255]
    rest = np.ones((8, 8), bool)
    rest[3, 3] = False
    np.testing.assert_array_equal(image[rest], plain[rest])


def test_a_transparent_colour_of_sixteen_bits_is_white():
    colours = np.stack([RAMP, RAMP.T, RAMP[::-1]], axis=-1)
    keyed = chunk(b"tRNS", struct.pack(">HHH", *map(int, colours[2, 5])))
    image = pixels(png(colours, colour=2, depth=16, before=keyed))
    assert image[2, 5].tolist() == [255, 255, 255]
    assert image[0, 0].tolist() != [255, 255, 255]


@pytest.mark.parametrize("kind", ["text", "xmp", "profile"])
def test_long_words_do_not_cost_the_image(kind):
    words = "x" * 3_000_000
    options = {}
    if kind == "profile":
        options["icc_profile"] = words.encode()
    else:
        info = PngImagePlugin.PngInfo()
        name = "Comment" if kind == "text" else "XML:com.adobe.xmp"
        info.add_itxt(name, words, zip=True)
        options["pnginfo"] = info
    picture = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
    np.testing.assert_array_equal(pixels(encode(picture, **options)), np.asarray(picture))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 99, "HEIC, which is not read here"),
        (b"\xff\x0a" + b"\0" * 99, "JPEG XL"),
        (b"%PDF-1.7\n", "a PDF"),
        (b"8BPS\0\1", "a Photoshop file"),
        (b"<!DOCTYPE html><title>404</title>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
        (b"PK\x03\x04", "a ZIP archive"),
        (b"\0\0\0\x20ftypisom" + b"\0" * 99, "a video"),
    ],
)
def test_the_reason_names_what_the_file_is(content, said):
    assert said in reason(content)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "CMYK", "P", "I;16", "F"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_large_images_are_reduced_strip_by_strip(mode, orientation, monkeypatch):
    """Against the same image decoded as a whole: means of squares come before Lanczos."""
    height, width = 203, 330
    y, x = np.mgrid[:height, :width]
    smooth = ((np.sin(x / 37) + np.cos(y / 23) + 2) / 4 * 255).astype(np.uint8)
    if mode == "I;16":
        picture = Image.fromarray(smooth.astype(np.uint16) * 256)
    elif mode == "F":
        picture = Image.fromarray(smooth.astype(np.float32) / 255)
    else:
        picture = Image.fromarray(np.stack([smooth, smooth.T.reshape(smooth.shape), smooth], -1))
        picture = picture.convert(mode)
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encode(picture, "TIFF" if mode in ("CMYK", "F") else "PNG", exif=exif)
    whole = decode_image(content, resolution=16, crop="center")
    monkeypatch.setattr(image_memory, "LARGE", 10_000)
    monkeypatch.setattr(image_memory, "_STRIP", 5_000)
    reduced = decode_image(content, resolution=16, crop="center")
    assert (reduced.width, reduced.height) == (whole.width, whole.height)
    difference = np.abs(reduced.pixels.astype(int) - whole.pixels)
    assert difference.mean() < 1.5
    assert difference.max() <= 24  # at the edges of what is cut


def test_what_would_take_more_is_refused_by_its_header(monkeypatch):
    content = encode(Image.new("RGB", (300, 200)))
    monkeypatch.setattr(image_memory, "MOST_BYTES", 100_000)
    assert reason(content) == "too large: 300x200 pixels take more than a gigabyte to decode"


def test_memory_that_is_not_there_is_a_reason(monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    content = encode(Image.new("L", (8, 8)))
    monkeypatch.setattr(Image.Image, "convert", fail)
    assert "too large" in reason(content)


def strip_of_zeros(width: int) -> bytes:
    """An RGB PNG of one row, which Pillow itself cannot write."""
    packer, left = zlib.compressobj(), 3 * width + 1
    row = [packer.compress(bytes(min(1 << 20, left - at))) for at in range(0, left, 1 << 20)]
    header = struct.pack(">IIBBBBB", width, 1, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", b"".join([*row, packer.flush()]))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


_MEASURED = """
import resource, sys
from dreamda_jax.data.transforms import ImageError, decode_image
import pathlib
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decode_image(pathlib.Path(sys.argv[1]), resolution=512, crop="center"); print("decoded")
except ImageError as error:
    print(error)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "size", "image_format"),
    [
        ("RGB", (178_956_970, 1), "PNG"),
        ("RGB", (13_377, 13_377), "PNG"),
        ("RGBA", (13_377, 13_377), "PNG"),
        ("I;16", (13_377, 13_377), "PNG"),
        ("F", (13_377, 13_377), "TIFF"),
        ("P", (13_377, 13_377), "GIF"),
        ("L", (16_000, 11_000), "WEBP"),
        ("RGB", (13_377, 13_377), "JPEG"),
        ("RGB", (10_000, 10_000), "progressive"),
        ("RGB", (7_000, 7_000), "AVIF"),
        ("RGB", (7_000, 7_000), "JPEG2000"),
        ("RGBA", (6_300, 6_300), "PNG"),
    ],
)
def test_no_image_takes_more_than_about_a_gigabyte(mode, size, image_format, tmp_path):
    file = tmp_path / "image.png"
    options = {"compression": "tiff_lzw"} if image_format == "TIFF" else {}
    if image_format == "progressive":
        image_format, options = "JPEG", {"progressive": True}
    if image_format == "AVIF":
        options = {"speed": 10}
    if size[1] == 1:
        file.write_bytes(strip_of_zeros(size[0]))
    else:
        Image.new(mode, size).save(file, image_format, **options)
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    said, kilobytes = done.stdout.splitlines()
    assert said == "decoded" or said.startswith("too large: ")
    assert int(kilobytes) * 1024 < 1.1e9, said
    assert Path(file).stat().st_size < 30_000_000
